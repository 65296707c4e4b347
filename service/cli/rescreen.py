"""`xedm rescreen`: new thresholds on a finished or a running series."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import say, set_up_logging
from service.errors import UsageError

if TYPE_CHECKING:
    from service.status import WhatIf

_ELSEWHERE = "their bytes are not in a spool; give the detector's files with --from"
_TRIED: tuple[dict[str, object], ...] = tuple(
    {"screening.chi2_ratio_max": value} for value in (1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0)
)
"""What a dry run without `--set` tries."""


def rescreen(
    result: Annotated[Path, typer.Argument(help="result file, series_<id>.nxs")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="screening.key=value, may be repeated")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would change, change nothing")] = False,
    http: Annotated[str | None, typer.Option(help="address of a running service: its open series is meant")] = None,
    token_file: Annotated[Path | None, typer.Option(help="default: .steering-token beside the result")] = None,
    from_: Annotated[
        list[Path] | None, typer.Option("--from", help="Eiger master file with the frames, besides the spool")
    ] = None,
    no_image: Annotated[bool, typer.Option("--no-image", help="leave the image out")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Put other thresholds in force, exactly, reading only the frames whose verdict flips.

    Several values of one setting in a dry run: --set screening.chi2_ratio_max=1.4,1.6,1.8

    Example: xedm rescreen xedm-output/series_5.nxs --set screening.chi2_ratio_max=1.8 --dry-run
    """
    set_up_logging()
    cases = cases_of(set_ or []) if set_ else list(_TRIED)
    if dry_run:
        _show_cases(_try_out(result, cases, http, from_ or []), as_json=as_json)
        return
    if not set_ or len(cases) != 1:
        raise UsageError(
            "rescreen must know one new value for each setting, such as --set screening.chi2_ratio_max=1.8; "
            "--dry-run compares several"
        )
    raise typer.Exit(
        _rescreen_running(result, cases[0], http, token_file, as_json=as_json)
        if http
        else _rescreen_file(result, cases[0], from_ or [], image=not no_image, as_json=as_json)
    )


def cases_of(pairs: Sequence[str]) -> list[dict[str, object]]:
    """Return the settings to try: one setting may have several values, separated by commas.

    Raises
    ------
    UsageError
        When more than one setting has several values.
    """
    from service.config import parse_pairs

    given = parse_pairs(pairs)
    many = {name: text.split(",") for name, text in given.items() if isinstance(text, str) and "," in text}
    if len(many) > 1:
        raise UsageError(f"only one setting may have several values, got {' and '.join(many)}")
    if not many:
        return [given]
    ((name, values),) = many.items()
    return [given | parse_pairs([f"{name}={value}"]) for value in values]


def _try_out(result: Path, cases: "Sequence[dict[str, object]]", http: str | None, files: list[Path]) -> "list[WhatIf]":
    if http is not None:
        from service.http_client import ask_what_if

        return ask_what_if(http, cases)
    from service.rescreen import try_out

    return try_out(result, cases, files)


def _show_cases(found: "list[WhatIf]", *, as_json: bool) -> None:
    from service.ranges import in_words

    for one in found:
        if as_json:
            print(one.model_dump_json())
            continue
        changes = ", ".join(f"{name} = {value}" for name, value in one.changes.items())
        counts = ", ".join(f"{name} {count}" for name, count in one.counts.items())
        say(f"{changes}: judged frames {counts}; {one.flips} would flip: {in_words(one.frames, 10) or 'none'}")
        if one.not_at_hand:
            say(f"  {one.not_at_hand} of these could not flip: {_ELSEWHERE}")


def _rescreen_file(result: Path, changes: dict[str, object], files: list[Path], *, image: bool, as_json: bool) -> int:
    from service.ranges import in_words
    from service.rescreen import rescreen_file

    found = rescreen_file(result, changes, files=files, image=image)
    if as_json:
        print(json.dumps({**dataclasses.asdict(found), "result": str(found.result)}))
    else:
        counts = ", ".join(f"{name} {count}" for name, count in found.counts.items() if count)
        say(f"{result}: settings version {found.version}: {counts}")
        say(f"  {found.flips} verdicts flipped ({in_words(found.flipped) or 'none'}), {found.reads} frames read")
        say(f"  image: {found.image}")
        if found.unresolved:
            say(f"  unresolved: frames {in_words([(n, n) for n in found.unresolved])}; {_ELSEWHERE}")
    return 5 if found.unresolved else 0


def _rescreen_running(
    result: Path, changes: dict[str, object], http: str, token_file: Path | None, *, as_json: bool
) -> int:
    from service.http_client import put_settings, settled_status

    version = put_settings(http, changes, token_file or result.parent / ".steering-token")
    status = settled_status(http, version)
    if as_json:
        print(json.dumps(status))
    else:
        counts = ", ".join(f"{name} {count}" for name, count in status["counts"].items() if count)
        say(f"{http}: settings version {version} in force: {counts}; {status['read_again']} frames read again so far")
        if status["unresolved"]:
            say(f"  unresolved, since their bytes are nowhere: frames {status['unresolved']}")
    return 5 if status["unresolved"] else 0
