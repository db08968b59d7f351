"""Run the commands that the pages show, and put their real output into the pages.

    python docs/transcripts.py            write the output into README.md and docs/**/*.md
    python docs/transcripts.py --check    only say which pages and pictures are out of date

A transcript is a ```console block after a comment: <!-- run -->, or <!-- run keep: A | B --> to show only the first
paragraph and those that begin with A or B, with "..." for what is left out; "picture" in the comment copies the PNG
that the command wrote to docs/images. Commands run in --dir (a temporary folder unless given), after the scripts that
make the files they need (FIRST); a command that needs a missing file is skipped, with a message.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"(?P<head><!-- run(?P<options>[^>]*)-->\n```console\n)(?P<body>.*?)(?P<tail>\n```)", re.DOTALL)
FIRST = ("$ python train_and_check.py",)  # needs torch; its page uses the files before it shows the script's output
START = re.compile(r"(warning|info|note|error) \(GS-")


def pages() -> list[Path]:
    """Return every page that a person wrote."""
    built = ("_build", "generated")
    return [DOCS.parent / "README.md", *(p for p in sorted(DOCS.rglob("*.md")) if not set(built) & set(p.parts))]


def paragraphs(text: str) -> list[str]:
    """Split at blank lines, and before every finding; a finding that follows another begins with a newline less."""
    pieces: list[str] = []
    for part in text.rstrip("\n").split("\n\n"):
        rows: list[str] = []
        for line in part.split("\n"):
            if START.match(line) or not rows:
                rows.append(line)
            else:
                rows[-1] += f"\n{line}"
        pieces += rows
    return pieces


def chosen(output: str, options: str) -> str:
    """Return the first paragraph and those that `keep:` asks for, all of them without it."""
    if "keep:" not in options:
        return output.rstrip("\n")
    wanted = tuple(w.strip() for w in options.split("keep:")[1].split("|"))
    out: list[str] = []
    for number, paragraph in enumerate(paragraphs(output)):
        if not number or paragraph.startswith(wanted):
            joined = START.match(paragraph) and out and START.match(out[-1])
            out[-1:] = [f"{out[-1]}\n{paragraph}"] if joined else [*out[-1:], paragraph]
        elif not out or out[-1] != "...":
            out.append("...")
    return "\n\n".join(out)


def commands(body: str) -> str:
    """Return the lines of a block that are typed, continuation lines included."""
    rows, typed, going = body.split("\n"), [], False
    for row in rows:
        if row.startswith("$ ") or going:
            typed.append(row)
            going = row.endswith("\\")
    return "\n".join(typed)


@functools.cache
def once(typed: str, folder: Path) -> str | None:
    """Run what takes long, or makes files for other blocks, only once."""
    return run(typed, folder)


def run(typed: str, folder: Path) -> str | None:
    """Run what a block types and return standard output and error; None where a file or a package is missing."""
    script = "\n".join(row.removeprefix("$ ") for row in typed.split("\n"))
    for name in re.findall(r"[\w.-]+\.(?:pt|npy|py|safetensors)\b", script):
        if not (folder / name).exists() and name not in re.findall(r"> *(\S+)", script):
            print(f"  left alone: {script.splitlines()[0]}  (no {name})", file=sys.stderr)
            return None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {
        **os.environ,
        "PATH": path,
        "OPENBLAS_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "PYTHONPATH": str(DOCS.parent),
    }
    for name in re.findall(r"-o (\S+)", script):
        (folder / name).unlink(missing_ok=True)
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    output: str = subprocess.run(["bash", "-c", script], cwd=folder, env=settings, check=False, **both).stdout
    if missing := re.search(r"^ModuleNotFoundError.*", output, re.MULTILINE):
        print(f"  left alone: {script.splitlines()[0]}  ({missing[0]})", file=sys.stderr)
        return None
    if "Warning: " in output or str(DOCS.parent) in output:
        raise SystemExit(f"{script.splitlines()[0]} prints what no page should show:\n{output[:2000]}")
    return output


def keep_picture(file: Path, *, check: bool) -> bool:
    """Copy a picture to docs/images with a palette of 256 colours: the same picture, a third of the bytes.

    Return whether the picture there was another one; with `check` it is left as it is.
    """
    image = Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    target = DOCS / "images" / file.name
    if target.exists() and same(image, Image.open(target)):
        return False
    if not check:
        small = io.BytesIO()
        image.save(small, "png", optimize=True)
        target.write_bytes(small.getvalue())
    return True


def same(one: Image.Image, other: Image.Image) -> bool:
    """Return whether two pictures look the same: all but 20 pixels within an eighth of the range."""
    if one.size != other.size:
        return False
    histogram = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).convert("L").histogram()
    return sum(histogram[32:]) <= 20  # one changed digit is more


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--dir", type=Path)
    parser.add_argument("pages", nargs="*", type=Path)
    options = parser.parse_args()
    folder = (options.dir or Path(tempfile.mkdtemp())).resolve()
    for script in (DOCS / "examples").glob("*.py"):
        shutil.copy(script, folder)
    for typed in FIRST:
        once(typed, folder)
    changed: list[str] = []  # pictures and pages
    for page in options.pages or pages():
        page = page.resolve()

        def fill(match: re.Match[str], page: Path = page) -> str:
            typed = commands(match["body"])
            output = once(typed, folder) if typed in FIRST else run(typed, folder)
            if output is None:
                return match[0]
            if "picture" in match["options"]:
                file = folder / re.findall(r"-o (\S+\.png)", typed)[0]
                if keep_picture(file, check=options.check):
                    print(f"docs/images/{file.name}: {'out of date' if options.check else 'written'}")
                    changed.append(file.name)
            shown = chosen(output, match["options"])
            return f"{match['head']}{typed}\n{shown}{match['tail']}".replace("\n\n```", "\n```")

        old = page.read_text(encoding="utf-8")
        new = BLOCK.sub(fill, old)
        if new != old:
            changed.append(page.name)
            print(f"{page.relative_to(DOCS.parent)}: {'out of date' if options.check else 'written'}")
            if not options.check:
                page.write_text(new, encoding="utf-8")
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
