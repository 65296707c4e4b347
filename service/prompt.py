"""The prompt of a session: IPython with bluesky's magics, a table and a bar for each scan, and an overview."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.config import Settings
from service.documents import DocumentWriter, ScanProgress
from service.export import CsvExport
from service.live_news import LiveNews
from service.overview import Overview


class Prompt:
    """What makes a session's namespace a prompt.

    Parameters
    ----------
    session : dict
        From `service.session.build_session`.
    output : Path
        Folder of documents and tables.
    settings : Settings
    """

    def __init__(self, session: dict[str, Any], output: Path, settings: Settings) -> None:
        from bluesky.simulators import check_limits, summarize_plan

        from service.session import is_plan

        self.names = session
        # IPython empties the namespace when it ends.
        self._engine, self._beamline = session["RE"], session["beamline"]
        self._subscribe(output, settings)
        plans = [name for name, thing in session.items() if is_plan(thing)]
        session["help"] = Overview(
            detector=self._beamline.detector.name,
            plans=plans,
            devices=list(self._beamline.namespace()),
            output=str(output),
        )
        session |= {"summarize_plan": summarize_plan, "check_limits": check_limits}

    def _subscribe(self, output: Path, settings: Settings) -> None:
        from service.session import quiet_table

        self._documents = DocumentWriter(output)
        callbacks: list[Any] = [quiet_table(), self._documents, LiveNews(self.names["live"])]
        if settings.catalog.csv:
            callbacks.append(CsvExport(output, settings.spool.detector_files))
        if sys.stderr.isatty():
            progress = ScanProgress()
            callbacks.append(progress)
            self._engine.state_hook = progress.state_changed
        for callback in callbacks:
            self._engine.subscribe(callback)
        self._engine.waiting_hook = MoveBars(self._engine)

    def talk(self, banner: str) -> None:
        """Run IPython until the person leaves, then leave the beamline safe."""
        import IPython
        from traitlets.config import Config

        from service.session import end_suspenders, leave_safely

        options = Config()
        options.TerminalIPythonApp.display_banner = False
        options.TerminalInteractiveShell.confirm_exit = False
        options.HistoryManager.enabled = sys.stdin.isatty()
        options.InteractiveShellApp.extensions = ["service.prompt_errors"]
        sys.stdout.write(banner)
        sys.stdout.flush()
        try:
            IPython.start_ipython(argv=["--no-banner"], user_ns=self.names, config=options)
        finally:
            leave_safely(self._beamline, self._engine)
            self._documents.close()
            end_suspenders(self._engine)


class MoveBars:
    """Bluesky's progress bars for moves outside of a run; in a run the scan's own bar is enough.

    Parameters
    ----------
    engine : RunEngine
    """

    def __init__(self, engine: Any) -> None:
        from bluesky.utils import ProgressBarManager

        self._engine, self._bars, self._shown = engine, ProgressBarManager(), False

    def __call__(self, statuses: Sequence[Any] | None) -> None:
        """Take what the RunEngine waits for, None when it waits no longer."""
        if statuses is not None and not _in_a_run(self._engine):
            self._shown = True
            self._bars(statuses)
        elif statuses is None and self._shown:
            self._shown = False
            self._bars(None)


def _in_a_run(engine: Any) -> bool:
    runs: Mapping[Any, Any] = engine._run_bundlers  # noqa: SLF001 - there is no public way to ask
    return bool(runs)
