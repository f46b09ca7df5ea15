"""What the README shows runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = [
    pytest.param(code, id=f"{page.stem}-{i}")
    for page in PAGES
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("code", PROGRAMS)
def test_a_program_in_the_docs_runs_as_printed(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if ".register(" in code:  # what it registers would stay in this process
        subprocess.run([sys.executable, "-c", code], check=True)
    else:
        with torch.random.fork_rng():
            exec(compile(code, "<printed>", "exec"), {"__name__": "__main__"})
    if code == PROGRAMS[0].values[0]:
        assert "inside against cut out: 0.0" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_a_page_points_to_exists(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    linked = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(
        r"`((?:docs|configs|supernet|tests)/[\w./-]+\w)`", text
    )
    for target in linked:
        assert (page.parent / target).exists() or (ROOT / target).exists(), target
