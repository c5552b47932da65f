"""README.zh.md keeps step with README.md: the same programs, outputs and pictures."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path, language):
    found = _BLOCK.findall(path.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def commands(path):
    """The shell commands without their comments."""
    lines = "".join(blocks(path, "sh")).splitlines()
    return [line.split("#")[0].strip() for line in lines]


def test_the_programs_are_the_same_but_for_their_comments():
    ours, theirs = blocks(ENGLISH, "python"), blocks(CHINESE, "python")
    assert len(ours) == len(theirs) >= 4
    for one, other in zip(ours, theirs, strict=True):
        assert ast.dump(ast.parse(one)) == ast.dump(ast.parse(other)), other


def test_what_they_print_is_the_same():
    assert blocks(ENGLISH, "text") == blocks(CHINESE, "text")
    assert commands(ENGLISH) == commands(CHINESE)


@pytest.mark.parametrize("pattern", [r"!\[[^\]]+\]\(([^)]+)\)", r"^\| (`[^`]+`) \|"])
def test_pictures_and_the_table_of_files_are_the_same(pattern):
    ours, theirs = (
        re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
        for path in (ENGLISH, CHINESE)
    )
    assert ours == theirs
    assert ours


def test_every_paragraph_is_chinese():
    text = _BLOCK.sub("", CHINESE.read_text(encoding="utf-8"))
    for paragraph in re.split(r"\n\n+", text):
        if len(paragraph) > 40:
            assert len(re.findall("[一-鿿]", paragraph)) >= 8, paragraph


def test_what_it_links_is_there_and_every_step_of_the_lesson_is_linked_in_order():
    text = CHINESE.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    for link in links:
        assert (ROOT / link).is_file(), link
    steps = [link for link in links if re.match(r"examples/\d", link)]
    scripts = sorted(ROOT.glob("examples/[01][0-9]*_*.py"))
    assert steps == [script.relative_to(ROOT).as_posix() for script in scripts]
