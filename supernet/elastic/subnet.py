"""A subnet as a value: one architecture of a supernet, bound to the shared weights and callable.

Whoever runs, measures, calibrates or cuts out an architecture holds a `Subnet`. How it is run, its
*execution*, is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from supernet.elastic.distributed import reaching_all
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.skeleton import bind, rebind
from supernet.elastic.slicing import Views
from supernet.errors import SupernetError, did_you_mean
from supernet.memory.modes import Execution, check_modes, install, modes
from supernet.registry import Registry
from supernet.space import Architecture, Value

if TYPE_CHECKING:
    from supernet.elastic.costs import Cost
    from supernet.elastic.supernet import Supernet

Executor = Callable[["Subnet", tuple[Any, ...], Mapping[str, Any]], Any]
"""From a subnet and the arguments of a call to what it answers."""

executions: Registry[Executor] = Registry("execution", group="supernet.executions")
"""Ways to run a subnet as a whole, by name; `supernet.memory.modes` are ways to run its modules."""


def modes_of(network: nn.Module, execution: Execution) -> dict[str, str]:
    """The modes of its modules that an execution asks for, by path; none where it runs the network as a whole.

    Args:
        network: the largest one.
        execution: as `Subnet` takes it.

    Raises:
        SupernetError: when it names an execution, a mode or a module that is not there.
    """
    if not isinstance(execution, str):
        check_modes(network, execution)
        return dict(execution)
    if execution in executions:
        return {}
    if execution not in modes:
        known = {*executions, *modes}
        raise SupernetError(f"no execution is called {execution!r}{did_you_mean(execution, known)}")
    return {"": execution}


class Subnet(nn.Module):
    """One architecture over the shared weights: called as the network is called. Made by `Supernet.subnet`.

    Its modules are its own (hooks and modes set on them stay), its tensors are slices of the
    supernet's, taken anew at every call: what an optimiser or ``load_state_dict`` did to the weights is
    seen, and gradients land in them. It starts in the supernet's mode; ``train()`` and ``eval()`` change
    its own.

    Args:
        supernet: whose weights.
        arch: a point of its space, or a relaxation.
        statistics: batch-norm statistics of this subnet, from `supernet.calibrate`; they replace the
            shared ones.
        execution: how it is run: the name of a mode (`supernet.memory.modes`) or ``compiled``, or the modes of some of
            its modules by path, ``{"blocks.2": "checkpoint"}``. Where paths lie inside each other, all of them hold.

    Raises:
        ArchitectureError: when ``arch`` is of another space.
        WeightsError: when the statistics are those of another architecture.
        SupernetError: when no execution, mode or module has that name.
    """

    supernet: Supernet
    network: nn.Module
    """The modules of the architecture, with its slices."""

    def __init__(
        self,
        supernet: Supernet,
        arch: Architecture | Relaxation,
        statistics: Mapping[str, Tensor] | None = None,
        execution: Execution = "plain",
    ) -> None:
        super().__init__()
        chosen = modes_of(supernet.largest, execution)
        whole = isinstance(execution, str) and execution in executions
        self._run = executions[str(execution) if whole else "plain"]
        # Not a submodule: the parameters of a subnet are its own slices, not everything that is shared.
        self.__dict__["supernet"] = supernet
        self.arch: Any = arch
        self.statistics, self.execution = statistics, execution
        self.network = bind(supernet.largest, supernet.slices(arch, statistics), own=True)
        install(self.network, chosen)
        self.views: Views = {}
        self.training = supernet.training

    @property
    def values(self) -> dict[str, Value]:
        """The values of its choices that matter, by name."""
        return self.supernet.space.decode(self.arch)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network answers with the slices of this architecture.

        Args:
            *args: as the largest network takes them.
            **kwargs: likewise.
        """
        return self._run(self, args, kwargs)

    def extract(self) -> nn.Module:
        """Cut it out: a plain module of the original classes with weights of its own."""
        return self.supernet.extract(self.arch, self.statistics)

    def costs(self) -> Cost:
        """What it costs, for the inputs the supernet was made with."""
        return self.supernet.costs().of(self.arch)

    def with_statistics(self, statistics: Mapping[str, Tensor] | None) -> Subnet:
        """The same architecture with other batch-norm statistics, in the same mode."""
        other = Subnet(self.supernet, self.arch, statistics, self.execution)
        other.train(self.training)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.supernet, self.arch, self.statistics, self.execution, self.training)

    def extra_repr(self) -> str:
        """Which architecture, and how it is run."""
        return f"architecture {self.arch.id}, {self.execution}"


def _restored(
    supernet: Supernet,
    arch: Architecture,
    statistics: Mapping[str, Tensor] | None,
    execution: Execution,
    training: bool,
) -> Subnet:
    return Subnet(supernet, arch, statistics, execution).train(training)


@executions.register("plain")
def plain(subnet: Subnet, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """One operator after the other, each module in its mode."""
    supernet = subnet.supernet
    slices = supernet.slices(subnet.arch, subnet.statistics, subnet.views)
    rebind(subnet.network, supernet.largest, slices)
    outputs = reaching_all(subnet.network(*args, **kwargs), supernet.largest)
    supernet.carry_back(subnet.network, subnet.arch, slices)
    return outputs


@executions.register("compiled")
def compiled(subnet: Subnet, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """By `torch.compile`, in graphs that all subnets of the supernet share.

    Raises:
        SupernetError: when the subnet was put in another mode than the supernet, whose graphs they are.
    """
    if subnet.training != subnet.supernet.training:
        mode = "train" if subnet.training else "eval"
        raise SupernetError(
            f"a compiled subnet runs in the mode of its supernet, whose graphs it shares; "
            f"call supernet.{mode}(), or use execution='plain'"
        )
    return subnet.supernet.compiled(*args, subnet.arch, statistics=subnet.statistics, **kwargs)
