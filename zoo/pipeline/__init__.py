"""A run from data to published subnets, as functions that print nothing.

In the order one would read them:

- `options`: everything a run can be told, as one picture
- `settings`: all of it with its meaning, and the names that some of it can be
- `run`: a run is a folder: where everything lies, and what may not change any more
- `progress`: how a step says how far it is
- `offered`: what the supernet of a run offers
- `workspace`: what the steps work with: the trained supernet, the examples, exact costs, a judge
- `mixed`: likewise where the precision of every stage is chosen as well
- `training`: train; like the next ones, it goes on where it stopped
- `differentiating`: train and choose at once, by gradients
- `profiling`: profile a device, and learn from it
- `devices`: profile several, side by side
- `faster`: whether eight bits made a network faster, as measured
- `searching`: search for one device or several
- `study`: which cuts are cheap and which are dear, before a training or after
- `parts`: a run split into several, where its values disagree
- `pick`: which of the evaluated networks are to be proven
- `kept`: what a run holds so far, in words
- `find`: an architecture by whatever a person calls it
- `explaining`: where the time of a network goes, which choices pay, what is smaller and slower
- `eight_bits`: exported networks in eight bits, with the types that are fastest on the device
- `scoring`: zero-cost scores of networks, held against what a search found
- `prove`: cut out, export, compare, time and judge what was picked
- `verifying`: hold a front against measurements, and search on where it does not
- `comparing`: search, and measure what is in eight bits beside itself in float
- `entries`: from a proof to a published entry
- `pull_back`: ask the zoo for the best within a limit, and run it
- `figure`: the picture of a front

It stands on every other package. The command line (`zoo.cli`) stands on it and is the only part that prints.
"""
