"""The page's modules that need no document, under node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "stream" / "server" / "page"


def test_modules_without_a_document_pass_their_tests_under_node(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        if "node" in os.environ.get("ONLOOKER_REQUIRE", ""):
            pytest.fail("node is required but not installed")
        pytest.skip("needs node")
    shutil.copytree(PAGE, tmp_path / "page")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    tests = shutil.copy(Path(__file__).with_name("page_modules.mjs"), tmp_path)
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", tests],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = next(line for line in done.stdout.splitlines() if line.startswith("# pass "))
    assert int(ran.split()[-1]) >= 25


def test_the_page_has_nothing_that_its_content_policy_forbids() -> None:
    html = (PAGE / "index.html").read_text()
    assert "<style" not in html and " style=" not in html and " onclick" not in html
    assert html.count("<script") == 1 and '<script type="module" src="app.js">' in html
    for module in PAGE.glob("*.js"):
        text = module.read_text()
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "http://",
            "https://",
        ):
            where = text.replace('"http://www.w3.org/2000/svg"', "").replace(
                "Browsers give cameras to https:// and", ""
            )
            assert forbidden not in where, f"{module.name}: {forbidden}"


def test_modules_are_small_and_import_each_other_by_name() -> None:
    for module in PAGE.glob("*.js"):
        text = module.read_text()
        assert text.count("\n") <= 250, module.name
        for line in text.splitlines():
            if line.startswith("import ") and ' from "' in line:
                assert (PAGE / line.split('from "./')[1].split('"')[0]).is_file(), f"{module.name}: {line}"
