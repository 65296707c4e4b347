"""The session as the worker of bluesky-queueserver has it: the same devices and plans, with nobody at a prompt."""

import atexit
import functools
import inspect
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, get_args, get_origin

from service.config import Settings, load_settings

PROFILE = Path(__file__).parent / "queueserver_profile"
"""Folder of the start-up profile."""
_PLAIN = (int, float, str, bool)


def queue_session(output: Path, config: Path | None = None, settings: Settings | None = None) -> dict[str, Any]:
    """Connect the devices and return the worker's namespace.

    Parameters
    ----------
    output : Path
        Folder of documents, tables and the catalogue.
    config : Path, optional
        TOML file with settings; without it the PV names are those of the simulation.
    settings : Settings, optional
        Instead of those of the file.

    Returns
    -------
    dict
        ``RE``, the devices, and the plans.

    Raises
    ------
    NotReachedError
        When a PV does not answer.
    """
    from service.catalog.client import CatalogProcess
    from service.documents import DocumentWriter
    from service.export import CsvExport
    from service.kept_metadata import KeptMetadata
    from service.session import beamline_names, build_session, is_plan, provide_repeater

    provide_repeater()
    settings = settings or load_settings(config)
    metadata = KeptMetadata(output / "metadata.json")
    log = output / "session.log"
    session = build_session(beamline_names(settings), metadata=metadata, log=log, suspend=True)
    engine = session["RE"]
    engine.subscribe(DocumentWriter(output))
    if settings.catalog.csv:
        engine.subscribe(CsvExport(output, settings.spool.detector_files))
    if settings.catalog.enabled:
        process = CatalogProcess(output, config)
        atexit.register(process.stop)
    names = {"RE": engine, **session["beamline"].namespace()}
    return names | {name: queued(thing) for name, thing in session.items() if is_plan(thing)}


def queued(plan: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Generator[Any, Any, Any]]:
    """Return a plan as the queue can take it.

    The queue checks arguments by annotations, of which it knows plain types only: others are left out, so that names
    of devices become the devices. A function that one may give (whom to tell, who confirms) cannot come from a queue.

    Examples
    --------
    >>> def plan(stage: Stage, exposure: float, tell=print): yield  # doctest: +SKIP
    >>> inspect.signature(queued(plan))  # doctest: +SKIP
    <Signature (stage, exposure: float)>
    """

    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from plan(*args, **kwargs))

    parameters = [
        parameter.replace(
            annotation=parameter.annotation if parameter.annotation in _PLAIN else inspect.Parameter.empty
        )
        for parameter in inspect.signature(plan).parameters.values()
        if not _is_function(parameter)
    ]
    functools.update_wrapper(run, plan)
    # The signature of what is wrapped would be looked at instead.
    vars(run).pop("__wrapped__")
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {}
    return run


def _is_function(parameter: inspect.Parameter) -> bool:
    """Whether a parameter can be nothing but a function, or left out."""
    if parameter.default is inspect.Parameter.empty:
        return False
    kinds = [kind for kind in get_args(parameter.annotation) or (parameter.annotation,) if kind is not type(None)]
    if get_origin(parameter.annotation) is Callable:
        return True
    return callable(parameter.default) or all(get_origin(kind) is Callable for kind in kinds)
