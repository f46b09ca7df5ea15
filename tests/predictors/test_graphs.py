"""Predictors that look at how a network is put together."""

from __future__ import annotations

from collections import Counter

import networkx as nx
import numpy as np
import pytest
from scipy.stats import spearmanr

from predictors import predictors
from predictors.gaussian_process import Covariance, GaussianProcess
from predictors.graph_network import GraphNetwork
from predictors.graphs import BUCKETS, ROUNDS, chain, traced, weisfeiler_lehman
from predictors.process import Process
from supernet.space import SearchSpace
from tests.predictors.latencies import SPACE, latency_ms, macs, sampled
from tests.tiny import tiny_supernet


def drawn(*labels: str, edges: tuple[tuple[int, int], ...]) -> nx.DiGraph:
    graph = nx.DiGraph()
    for i, label in enumerate(labels):
        graph.add_node(i, label=label, values=[0.0])
    graph.add_edges_from(edges)
    return graph


def test_a_chain_has_the_blocks_that_are_there_in_their_order() -> None:
    small, large = chain(SPACE)(SPACE.matrix([SPACE.smallest(), SPACE.largest()]))
    assert set(large) == {f"stages.{s}{block}" for s in range(3) for block in ("", ".0", ".1", ".2")}
    blocks = [node for node in large if node.count(".") == 2]
    assert blocks == sorted(blocks)
    assert not [node for node in small if node.count(".") == 2 and node.endswith(".2")]
    assert list(small.edges) == list(zip(list(small), list(small)[1:]))
    assert large.nodes["stages.0.1"]["label"] == "stages.0 kernel=7 width=48"
    assert large.nodes["stages.0.1"]["values"] == [0.0, 1.0, 1.0]


def test_the_kernel_counts_what_two_graphs_have_in_common() -> None:
    first = drawn("a", "b", "b", edges=((0, 1), (1, 2)))
    second = drawn("b", "a", "c", edges=((1, 0), (0, 2)))
    rows = weisfeiler_lehman([first, second]).reshape(2, ROUNDS + 1, BUCKETS)
    own = [Counter(nx.get_node_attributes(graph, "label").values()) for graph in (first, second)]
    assert rows[0, 0] @ rows[1, 0] == sum(own[0][label] * own[1][label] for label in own[0])
    around = [
        Counter(
            (
                graph.nodes[node]["label"],
                *(
                    tuple(sorted(graph.nodes[other]["label"] for other in side(node)))
                    for side in (graph.predecessors, graph.successors)
                ),
            )
            for node in graph
        )
        for graph in (first, second)
    ]
    assert rows[0, 1] @ rows[1, 1] == sum(around[0][label] * around[1][label] for label in around[0])
    assert rows[0, 1] @ rows[0, 1] == sum(count**2 for count in around[0].values())


def test_what_nodes_are_called_and_their_order_do_not_count_but_directions_do() -> None:
    graph = drawn("a", "b", "b", edges=((0, 1), (1, 2)))
    other = nx.relabel_nodes(graph.subgraph([2, 0, 1]).copy(), {0: "x", 1: "y", 2: "z"})
    same, turned = weisfeiler_lehman([graph, other]), weisfeiler_lehman([graph, graph.reverse()])
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.array_equal(turned[0], turned[1])


@pytest.mark.slow
def test_the_graph_of_a_supernet_says_what_is_computed() -> None:
    net = tiny_supernet()
    small, large = traced(net, (1, 3, 32, 32))(net.space.matrix([net.space.smallest(), net.space.largest()]))
    assert len(small) < len(large)
    rows = weisfeiler_lehman([small, large])
    assert not np.array_equal(rows[0], rows[1])
    widths = {len(data["values"]) for graph in (small, large) for _, data in graph.nodes(data=True)}
    assert widths == {3}


def test_a_column_counts_as_far_as_it_is_trusted() -> None:
    """By hand: the covariance of rows that were multiplied by the trust after they were standardised."""
    rng = np.random.default_rng(0)
    columns, values, trust = rng.normal(size=(6, 3)), rng.normal(size=6), np.array([1.0, 0.5, 0.0])
    by = Covariance(0.5, 0.7, 1.5, 0.1)
    found = GaussianProcess(columns, values, trust=trust, start=by, steps=0).predict(columns)
    rows = (columns - columns.mean(0)) / columns.std(0) * trust
    target = (values - values.mean()) / values.std()
    distance = ((rows[:, None] - rows[None]) ** 2).sum(-1) / 3
    kernel = by.linear * rows @ rows.T / 3 + by.smooth * np.exp(-distance / 2 / by.length**2)
    expected = kernel @ np.linalg.solve(kernel + by.noise * np.eye(6), target)
    np.testing.assert_allclose(found, expected * values.std() + values.mean(), rtol=1e-5)


def test_a_graph_tells_more_of_which_block_is_slow_than_sums() -> None:
    """On one device a kernel of 5 is slow in blocks of width 32 alone, which no sum over a stage shows."""
    label = "stages.1 kernel=5 width=32"

    def ms(genes: np.ndarray) -> np.ndarray:
        slow = [
            sum(data["label"] == label for _, data in graph.nodes(data=True)) for graph in chain(SPACE)(genes)
        ]
        return 5 + macs(genes) / 1e7 + np.array(slow)

    known, fresh = sampled(60), sampled(200, seed=1)
    errors = []
    for kind in (predictors["graph_kernel"], Process):
        predictor = kind(SPACE, macs=macs)
        predictor.fit(known, ms(known))
        errors.append(float(np.abs(predictor.predict(fresh).mean / ms(fresh) - 1).mean()))
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.slow
def test_what_was_learned_from_exact_costs_helps_where_little_was_measured() -> None:
    known, fresh = sampled(12), sampled(300, seed=1)
    found = []
    for pretrain in (False, True):
        ranks = []
        for seed in range(3):
            predictor = GraphNetwork(SPACE, params=macs, pretrain=pretrain, seed=seed)
            predictor.fit(known, latency_ms(known))
            ranks.append(float(spearmanr(predictor.predict(fresh).mean, latency_ms(fresh)).statistic))
        found.append(np.mean(ranks))
    assert found[1] > found[0]


def test_a_space_of_one_choice_has_a_graph_of_one_node() -> None:
    space = SearchSpace(SPACE.choices[:1])
    assert [len(graph) for graph in chain(space)(np.array([[0], [1]]))] == [1, 1]
