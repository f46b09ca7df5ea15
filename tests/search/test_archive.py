from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from search.archive import Archive, stored
from search.imports import by_lists, import_csv, import_lines
from search.objective import Objective
from search.operators import ends, sample_genes
from supernet.errors import StateError
from tests.search import synthetic

SPACE = synthetic.space()
ACCURACY, LATENCY = synthetic.objectives()[:2]
GENES = ends(SPACE)


def _recorded(path: Path) -> Path:
    with Archive(path, SPACE) as archive:
        archive.record(ACCURACY, GENES, np.array([0.1 + 0.2, np.nan]), notes=["", "burnt"], seconds=2.0)
    return path


def test_what_was_recorded_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    with Archive(_recorded(tmp_path / "a"), SPACE) as archive:
        low, high = stored(GENES)
        found = archive.values(ACCURACY)
        assert found.keys() == {low, high} and found[low] == 0.1 + 0.2 and np.isnan(found[high])
        np.testing.assert_array_equal(archive.look_up(ACCURACY, GENES), [0.1 + 0.2, np.nan])
        np.testing.assert_array_equal(archive.genes(b"".join(stored(GENES))), GENES)
        assert archive.failures(ACCURACY) == [(SPACE.largest(), "burnt")]


def test_a_later_value_replaces_an_earlier_one_and_failures_can_be_forgotten(tmp_path: Path) -> None:
    with Archive(_recorded(tmp_path / "a"), SPACE) as archive:
        archive.record(ACCURACY, GENES[:1], np.array([3.0]))
        assert archive.forget_failures() == 1
        assert archive.values(ACCURACY) == {stored(GENES)[0]: 3.0}


def test_an_evaluation_is_whole_when_every_expensive_value_is_known(tmp_path: Path) -> None:
    second = Objective("share", "%", "max", synthetic.accuracy)
    with Archive(_recorded(tmp_path / "a"), SPACE) as archive:
        (only,) = archive.evaluations([ACCURACY, LATENCY])
        assert only.arch == SPACE.smallest()
        assert only.values == {"accuracy": 0.1 + 0.2, "latency": float(synthetic.latency_ms(GENES)[0])}
        assert archive.evaluations([ACCURACY, second]) == []


def test_values_that_depend_on_something_else_are_other_values(tmp_path: Path) -> None:
    there = Objective("accuracy", "%", "max", synthetic.accuracy, depends={"weights": "0123"})
    with Archive(_recorded(tmp_path / "a"), SPACE) as archive:
        assert archive.values(there) == {}
        archive.record(there, GENES, np.array([1.0, 2.0]))
        assert archive.look_up(ACCURACY, GENES)[0] == 0.1 + 0.2


def test_an_archive_is_read_while_another_process_writes(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a")
    with Archive(path, SPACE, write=True) as writer, Archive(path, SPACE) as reader:
        writer.record(ACCURACY, GENES, np.array([5.0, 6.0]))
        assert reader.look_up(ACCURACY, GENES).tolist() == [5.0, 6.0]
        with pytest.raises(StateError, match="another process"):
            Archive(path, SPACE, write=True)


def test_a_damaged_archive_is_repaired_and_says_what_was_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, many = tmp_path / "a", sample_genes(SPACE, 3000, np.random.default_rng(0))
    with Archive(path, SPACE) as archive:
        archive.record(ACCURACY, many, synthetic.accuracy(many))
        whole = archive.values(ACCURACY)
    content = bytearray(path.read_bytes())
    assert len(content) > 50 * 4096
    content[30 * 4096 : 31 * 4096] = bytes(4096)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING), Archive(path, SPACE) as archive:
        saved = archive.values(ACCURACY)
    assert 0.5 * len(whole) < len(saved) < len(whole)
    assert all(whole[key] == value for key, value in saved.items())
    assert "was damaged" in caplog.text and f"{len(saved)} results" in caplog.text
    assert (tmp_path / "a.damaged").read_bytes() == bytes(content)


def test_an_archive_of_another_space_is_refused(tmp_path: Path) -> None:
    other = type(SPACE)(SPACE.choices[:3])
    with pytest.raises(StateError, match=f"another space: {SPACE.fingerprint}, now {other.fingerprint}"):
        Archive(_recorded(tmp_path / "a"), other)


@pytest.mark.parametrize("content", [b'{"a": 1}\n', b""])
def test_a_file_that_is_no_archive_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    if content:
        with pytest.raises(StateError, match="no archive"):
            Archive(path, SPACE)
        assert path.read_bytes() == content
    else:
        Archive(path, SPACE).close()


def test_a_database_of_somebody_else_and_one_of_a_later_version_are_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a") as db:
        db.execute("CREATE TABLE birds (name)")
    with pytest.raises(StateError, match="no archive"):
        Archive(tmp_path / "a", SPACE)
    with sqlite3.connect(_recorded(tmp_path / "b")) as db:
        db.execute("UPDATE about SET value = '9' WHERE key = 'format'")
    with pytest.raises(StateError, match=r"format 9.*reads 1"):
        Archive(tmp_path / "b", SPACE)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot write .*file/a"):
        Archive(tmp_path / "file" / "a", SPACE)


def test_proposals_are_kept_in_order_and_apart_by_goals(tmp_path: Path) -> None:
    with Archive(tmp_path / "a", SPACE) as archive:
        archive.propose("mine", GENES, searcher="random", seed=0, known=0)
        archive.propose("yours", GENES[:1], searcher="random", seed=0, known=2)
        archive.propose("mine", GENES[::-1], searcher="random", seed=0, known=2)
        found = archive.proposals("mine")
    assert [proposed.known for proposed in found] == [0, 2]
    np.testing.assert_array_equal(found[1].genes, GENES[::-1])


def test_the_archive_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    old = tmp_path / "archive.jsonl"
    lines = [{"format": 1, "space": SPACE.fingerprint, "objectives": [], "subject": ""}]
    lines += [
        {"genes": row, "id": "", "values": {"accuracy": 7.0, "latency": None}} for row in GENES.tolist()
    ]
    old.write_text("\n".join(map(json.dumps, lines)) + '\n{"torn')
    with Archive(tmp_path / "a", SPACE) as archive:
        assert import_lines(archive, old, {"accuracy": ACCURACY}) == 2
        assert archive.look_up(ACCURACY, GENES).tolist() == [7.0, 7.0]
    other = type(SPACE)(SPACE.choices[:3])
    with Archive(tmp_path / "b", other) as archive, pytest.raises(StateError, match="another space"):
        import_lines(archive, old, {"accuracy": ACCURACY})


def test_tables_are_taken_over_by_genes_by_choice_and_by_lists(tmp_path: Path) -> None:
    table = tmp_path / "found.csv"
    table.write_text(f"genes,top1\n{SPACE.smallest()},70.5\n{SPACE.largest()},\n")
    with Archive(tmp_path / "a", SPACE) as archive:
        assert import_csv(archive, table, {"top1": ACCURACY}) == 2
        np.testing.assert_array_equal(archive.look_up(ACCURACY, GENES), [70.5, np.nan])
        with pytest.raises(StateError, match="no column 'top5'; it has genes, top1"):
            import_csv(archive, table, {"top5": ACCURACY})
    values = SPACE.decode(SPACE.smallest())
    table.write_text(",".join([*values, "top1"]) + "\n" + ",".join(map(str, [*values.values(), 71.5])) + "\n")
    lists = {
        key: [choice.values[-1] for choice in SPACE.choices if choice.name.endswith(kind)]
        for key, kind in {"ks": "kernel", "e": "expand", "d": "depth"}.items()
    }
    wrong = tmp_path / "dynas.csv"
    wrong.write_text(f'Sub-network,Top-1 Acc (%)\n"{lists}",75.5\n')
    network = by_lists(SPACE, "Sub-network", {"ks": "kernel", "e": "expand", "d": "depth"})
    with Archive(tmp_path / "b", SPACE) as archive:
        import_csv(archive, table, {"top1": ACCURACY})
        import_csv(archive, wrong, {"Top-1 Acc (%)": ACCURACY}, network)
        assert archive.look_up(ACCURACY, GENES).tolist() == [71.5, 75.5]
