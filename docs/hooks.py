"""Pages that are made while the documentation is built: the README as home, tutorials, and one API page per package.

Nothing is written into the repository: pages exist in the build alone. Used by mkdocs.yml.
"""

import pkgutil
import re
from html import unescape
from pathlib import Path
from typing import Any

import jupytext
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("theory", "empirical")
FIGURE = r"\]\(paper_figures/([\w-]+\.png)\)"
# The theme's cells are never narrower than 5rem, which cuts wide tables of short numbers. Formulas do not break into lines.
STYLE = """
.md-typeset table:not([class]) th { min-width: 0; }
.md-typeset table:not([class]) :is(th, td) { padding: .5em .7em; }
.formula { overflow-x: auto; overflow-y: hidden; padding: .2em 0 .8em; }
@media (max-width: 600px) {
  .formula-inline { display: inline-block; max-width: 100%; overflow-x: auto; padding-bottom: .4em; vertical-align: middle; }
}
"""


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the generated pages to those of the folder."""
    pages = {"index.md": home(config["site_name"])}
    for script in sorted((ROOT / "docs" / "tutorials").glob("*.py")):
        pages[f"tutorials/{script.stem}.md"] = tutorial(script)
    for package in PACKAGES:
        pages[f"api/{package}.md"] = api_page(package)
    pages["site.css"] = STYLE
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    for figure in sorted(set(re.findall(FIGURE, (ROOT / "README.md").read_text(encoding="utf-8")))):
        source = ROOT / "paper_figures" / figure
        files.append(File.generated(config, f"figures/{figure}", abs_src_path=str(source)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw without a script."""

    def formula(found: re.Match[str]) -> str:
        inline, latex = found[2] == "\\(", unescape(found[3])
        # Not known to the converter, and without meaning for the eye.
        latex = re.sub(r"\\(?:bigl|bigr|Bigl|Bigr|big|Big)(?![a-z])", "", latex)
        drawn = convert(latex, display="inline" if inline else "block")
        if inline:  # short ones stay in their line's baseline; long ones may be wider than a phone
            return f'<span class="formula-inline">{drawn}</span>' if len(latex) > 40 else drawn
        return f'<div class="formula">{drawn}</div>'

    return re.sub(
        r'<(span|div) class="arithmatex">(\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', formula, html, flags=re.S
    )


def home(site_name: str) -> str:
    """The README with its figures; links to other files of the repository become their names: the site holds no copy."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("](docs/derivations.md)", "](derivations.md)")
    text = re.sub(FIGURE, r"](figures/\1)", text)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https:|derivations\.md|figures/)[^)]*\)", r"\1", text)
    return text if text.startswith("# ") else f"# {site_name}\n\n{text}"


def tutorial(script: Path) -> str:
    """A percent script as a page: text cells as text, code cells as code."""
    notebook = jupytext.read(script)
    cells = [
        f"```python\n{cell['source']}\n```" if cell["cell_type"] == "code" else cell["source"]
        for cell in notebook["cells"]
    ]
    return "\n\n".join(cells) + "\n"


def api_page(package: str) -> str:
    """One section per module with its public names; modules whose name starts with an underscore are left out."""
    names = [package]
    names += sorted(
        info.name
        for info in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        if not any(part.startswith("_") for part in info.name.split("."))
    )
    options = "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n      heading_level: 3\n"
    sections = [f"## {name}\n\n::: {name}\n{options}" for name in names]
    return f"# {package}\n\n" + "\n".join(sections)
