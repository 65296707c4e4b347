"""Every setting of the service: the same names in TOML, `--set section.key=value` and the HTTP API."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ConfigurationError, UsageError

_LOOPBACK = re.compile(r"^(tcp://(127(\.\d{1,3}){3}|localhost|\[::1\]):(\d{1,5}|\*)|ipc://.+|inproc://.+)$")
_SERVER = re.compile(r"^https?://[A-Za-z0-9.\-]+(:\d{1,5})?(/[\w./\-]*)?$")
_ENDPOINT = re.compile(r"^(tcp://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.\-*]+):\d{1,5}|ipc://[\w./-]+)$")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stream(_Section):
    """Where frames come from."""

    connect: str | None = Field(None, description="address of the detector's PUSH socket, tcp://HOST:PORT")
    bind: str | None = Field(None, description="bind the PULL socket here instead")
    bind_open: bool = Field(
        default=False,
        description="let `bind` be an address other machines reach: anyone who reaches this port can send frames; "
        "only behind a firewall",
    )
    connect_timeout_s: float = Field(300.0, gt=0)
    idle_timeout_s: float | None = Field(None, gt=0, description="default: max(120, 3 x frame_time)")
    drain_s: float = Field(2.0, ge=0, description="how long after an end message late frames are waited for")
    receive_high_water: int = Field(4, ge=1, le=1000)
    queue_frames: int = Field(16, ge=1, le=10_000, description="frames between the socket and the summing")
    channel: str | None = Field(
        None, min_length=1, max_length=100, description="energy channel on Stream2; default: the detector's first"
    )
    workers: int = Field(
        2, ge=1, le=64, description="threads that decode and score; the sum is the same for any number"
    )
    shadow_every: int = Field(
        1000, ge=0, description="every so many frames the plain decoder checks the quick one; 0: never"
    )
    check_hash: Literal["auto", "always", "never"] = Field(
        "auto", description="MD5 of stream v1; auto: the first three, then as many as 5 % of a core pay for"
    )


class Detector(_Section):
    """Overrides of what the stream's header says."""

    beam_center_x: float | None = Field(None, description="column, px")
    beam_center_y: float | None = Field(None, description="row, px")
    distance_m: float | None = Field(None, gt=0)
    wavelength_m: float | None = Field(None, gt=0)
    pixel_size_m: float | None = Field(None, gt=0)
    mask_file: Path | None = Field(None, description=".npy, True (or non-zero) where a pixel may count")


class Screening(_Section):
    """The three cuts of the paper."""

    enabled: bool = True
    intensity_ratio_min: float = Field(0.3, ge=0, le=1)
    chi2_ratio_max: float = Field(1.6, gt=0, le=1e6)
    chi2_max: float | None = Field(None, gt=0)
    background_ratio_max: float = Field(0.6, ge=0, le=1)
    ring_inner_px: float = Field(28.6, ge=0, le=10_000)
    ring_outer_px: float = Field(31.2, gt=0, le=10_000)
    radial_trend: Literal["kept", "removed"] = Field(
        "kept", description="whether a slope of the counts along the radius, within the ring, adds to chi2"
    )
    reference_total: float | None = Field(None, gt=0, description="total of a good frame; default: found")
    settle_frames: int = Field(5, ge=1, le=10_000, description="frames before the first, provisional verdicts")
    hold_mib: float = Field(
        256.0, ge=1, description="memory for compressed frames whose verdict may still flip, at most 1000"
    )

    @model_validator(mode="after")
    def _ring(self) -> "Screening":
        if self.ring_inner_px >= self.ring_outer_px:
            raise ValueError(
                f"ring_inner_px must be below ring_outer_px ({self.ring_outer_px:g} px), got {self.ring_inner_px:g} px"
            )
        return self


class Spool(_Section):
    """Keeping the compressed frames on disk."""

    enabled: bool = Field(default=False, description="true: keep the compressed frames beside the result")
    frames_per_file: int = Field(1000, ge=1, le=100_000, description="frames in one data file")
    queue_mib: float = Field(256.0, ge=1, le=65_536, description="memory for frames that wait for the disk")
    budget_gib: float = Field(200.0, gt=0, description="all spools in the output folder; the oldest series goes first")
    detector_files: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="path of the detector's own master files, from which missing frames are fetched; "
        "`$id` stands for the series number",
    )


class Recovery(_Section):
    """What makes a series survive the service: its ledger and its checkpoints, beside the result file."""

    enabled: bool = Field(default=True, description="false: a killed service leaves its last result file and no more")
    checkpoint_every_s: float = Field(
        5.0, gt=0, description="at the least; longer where writing one takes more than a twentieth of that"
    )
    fetch_timeout_s: float = Field(
        60.0, ge=0, description="how long the end of a series may wait for frames from spool or detector files"
    )


class Reconstruction(_Section):
    """When and how the image is made."""

    enabled: bool = True
    at_frames: tuple[int, ...] = Field(
        (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000), description="accepted frames at which to run"
    )
    timeout_s: float = Field(300.0, gt=0)
    memory_mib: int = Field(4096, ge=256, le=1 << 20, description="the most memory a reconstruction may take")
    retries: int = Field(2, ge=0, le=10, description="how often one that crashed or ran out of memory is tried again")
    object_diameter_m: float | None = Field(None, gt=0, description="expected outer diameter; default: estimated")
    wanted_resolution_m: float | None = Field(
        None, gt=0, description="half-period for which the frames still needed are forecast; default: no forecast"
    )
    width_px: int | None = Field(None, ge=15, description="unbinned width used about the centre; default: automatic")
    binning: int = Field(3, ge=1, le=31, description="odd; the paper's 3 x 3")
    reduction: int | None = Field(None, ge=1, le=63, description="further odd binning; default: automatic")
    central_px: float = Field(151.0, gt=0, description="unbinned diameter of the removed central speckle")
    background: Literal["azimuthal", "raw", "none"] = "azimuthal"
    negative: Literal["bins", "pixels"] = "bins"
    algorithm: Literal["hio", "ghio", "raar", "dm", "er"] = "hio"
    seeds: int = Field(100, ge=1, le=10_000)
    iterations: int = Field(1000, ge=1, le=1_000_000)
    generations: int = Field(10, ge=1, le=1000)
    best_fraction: float = Field(0.3, gt=0, le=1, description="part of the seeds averaged into the image")
    beta: float | None = Field(
        None, gt=0, le=1, description="feedback; default: 0.9 for HIO, 0.99 for RAAR and the difference map"
    )
    support_margin: float = Field(1.1, ge=0.5, le=3, description="radius of the support over the object's")
    support: Literal["disc", "shrinkwrap"] = Field(
        "disc", description="the disc as it is, or one that is 0.2 wider and shrinks on to the object"
    )
    support_threshold: float = Field(
        0.04, gt=0, lt=1, description="part of the smoothed object's maximum above which shrinkwrap keeps a pixel"
    )
    start: Literal["phases", "rings"] = Field("phases", description="random phases, or one random sign a ring")
    seed: int = Field(0, ge=0)


class Output(_Section):
    """Where results go."""

    directory: Path = Path("xedm-output")
    snapshot_every_s: float = Field(10.0, gt=0, description="at the least; longer where writing takes long")


class Http(_Section):
    """The live page and the API."""

    enabled: bool = True
    port: int = Field(0, ge=0, le=65535, description="0: a free one")


class Pvs(_Section):
    """The service's own EPICS PVs."""

    enabled: bool = True
    prefix: str = Field("XEDM:", pattern=r"^[A-Za-z0-9_:\-]{1,40}$")
    port: int = Field(0, ge=0, le=65535, description="CA server port, 0: a free one")
    steering: bool = Field(default=False, description="let anyone on Channel Access change thresholds")
    ring_addresses: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.:\- ]+$",
        description=(
            "where to search for `beamline.ring_current` and `ring_countdown`, which the page then shows, as "
            "EPICS_CA_ADDR_LIST; default: the ring is not watched"
        ),
    )


class Beamline(_Section):
    """The hardware: PV names, and what their IOCs say; the defaults are those of the simulation."""

    stage_x: str = "25A:PIEZO:X"
    stage_y: str = "25A:PIEZO:Y"
    stage_z: str = "25A:PIEZO:Z"
    stage_tolerance_um: float = Field(
        0.2, gt=0, description="largest distance of an axis from its target, in um, at which a frame is exposed"
    )
    stage_timeout_s: float = Field(30.0, gt=0, description="a move that takes longer has failed")
    detector: str = "25A:EIG1M:cam1:"
    detector_data_source: Literal["none", "filewriter"] = Field(
        "none", description="`DataSource` of the camera; filewriter: its counters move, and its IOC reads the files"
    )
    detector_header: Literal["all", "basic", "none"] = Field(
        "all", description="`StreamHdrDetail` of the camera; all: the header brings the pixel mask"
    )
    detector_api: str | None = Field(
        None, pattern=r"^https?://[^/\s]+$", description="http://HOST of the detector's SIMPLON API; for `xedm check`"
    )
    shutter_command: str = "25A:FS:Cmd"
    shutter_status: str = "25A:FS:Sts"
    shutter_open_value: int = Field(1, description="written to `shutter_command` to open")
    shutter_close_value: int = Field(0, description="written to `shutter_command` to close")
    shutter_open_state: str = Field("Open", min_length=1, description="word of `shutter_status` when fully open")
    shutter_closed_state: str = Field("Closed", min_length=1, description="word of `shutter_status` when fully closed")
    shutter_fault_state: str = Field("Fault", min_length=1, description="word of `shutter_status` for a fault")
    attenuator: str = "25A:ATT:Transmission"
    attenuator_achieved: str | None = Field(
        None, min_length=1, description="transmission reached; default: the name of `attenuator` with _RBV"
    )
    attenuator_moving: str = "25A:ATT:Moving"
    beam_stop: str = "25A:BS:Cmd"
    beam_stop_status: str = "25A:BS:Sts"
    beam_stop_in_value: int = Field(1, description="written to `beam_stop` to drive in")
    beam_stop_out_value: int = Field(0, description="written to `beam_stop` to drive out")
    beam_stop_in_state: str = Field("In", min_length=1, description="word of `beam_stop_status` when fully in")
    beam_stop_out_state: str = Field("Out", min_length=1, description="word of `beam_stop_status` when fully out")
    beam_stop_fault_state: str = Field("Fault", min_length=1, description="word of `beam_stop_status` for a fault")
    safe_transmission: float = Field(
        1e-4, gt=0, le=1, description="largest transmission with which the beam stop may leave"
    )
    ring_current: str = "SR-DI-DCCT:BeamCurrent"
    ring_current_min_ma: float = Field(10.0, gt=0, description="below this stored current, in mA, there is no beam")
    ring_countdown: str = "TPS:TimeToNextInjSec"
    ring_period_s: float = Field(240.0, gt=0, description="from one top-up injection to the next")
    ring_injection_s: float = Field(
        5.0, ge=0, description="how long after the jump of a countdown the beam is still disturbed"
    )
    live_prefix: str = "XEDM:"

    @model_validator(mode="after")
    def _distinct(self) -> "Beamline":
        for what, one, other in (
            ("shutter_open_value and shutter_close_value", self.shutter_open_value, self.shutter_close_value),
            ("shutter_open_state and shutter_closed_state", self.shutter_open_state, self.shutter_closed_state),
            ("beam_stop_in_value and beam_stop_out_value", self.beam_stop_in_value, self.beam_stop_out_value),
            ("beam_stop_in_state and beam_stop_out_state", self.beam_stop_in_state, self.beam_stop_out_state),
        ):
            if one == other:
                raise ValueError(f"{what} must differ, got {one!r} for both")
        if self.ring_injection_s >= self.ring_period_s:
            raise ValueError(
                f"ring_injection_s must be below ring_period_s ({self.ring_period_s:g} s), "
                f"got {self.ring_injection_s:g} s"
            )
        return self


class Catalog(_Section):
    """The catalogue of runs."""

    enabled: bool = Field(
        default=True,
        description="false: none; every run has its file of JSON lines all the same, from which it can be filled later",
    )
    server: str | None = Field(
        None,
        max_length=500,
        description="address of a Tiled server that is there already; default: a server of the "
        "session's own, with a SQLite catalogue in the output folder",
    )
    key_variable: str = Field(
        "TILED_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$",
        description="environment variable with the key of `catalog.server`; the key stands nowhere else",
    )
    port: int = Field(0, ge=0, le=65535, description="of the session's own server, 0: a free one")
    csv: bool = Field(default=True, description="false: no CSV file beside the documents of a run")

    @model_validator(mode="after")
    def _address(self) -> "Catalog":
        if self.server is not None and not _SERVER.match(self.server):
            raise ValueError(
                "server must look like https://HOST:PORT/PATH, without user, key or question mark; put the key into "
                f"the environment variable {self.key_variable}"
            )
        return self


class Settings(_Section):
    """The whole configuration."""

    stream: Stream = Stream()
    detector: Detector = Detector()
    screening: Screening = Screening()
    spool: Spool = Spool()
    recovery: Recovery = Recovery()
    reconstruction: Reconstruction = Reconstruction()
    output: Output = Output()
    http: Http = Http()
    pvs: Pvs = Pvs()
    beamline: Beamline = Beamline()
    catalog: Catalog = Catalog()

    def changed(self, changes: Mapping[str, object]) -> "Settings":
        """Return a copy with settings given by their dotted names.

        Raises
        ------
        ConfigurationError
            When a name is unknown or a value outside its limits.
        """
        tree = self.model_dump(mode="python")
        for name, value in changes.items():
            section, _, key = name.partition(".")
            if section not in tree or key not in tree[section]:
                raise ConfigurationError(f"setting {name!r} does not exist; {_nearest(name)}")
            tree[section][key] = value
        return _validated(tree, "settings")


Pair = Annotated[str, "section.key=value"]


def _names() -> list[str]:
    return [
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        for key in cast("type[BaseModel]", field.annotation).model_fields
    ]


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, _names(), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "see docs/reference/settings.md for the names"


def _validated(tree: Mapping[str, Any], where: str) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        sentences = []
        for item in error.errors():
            name = ".".join(str(step) for step in item["loc"])
            if item["type"] == "extra_forbidden":
                sentences.append(f"setting {name!r} does not exist; {_nearest(name)}")
            else:
                said = item["msg"].removeprefix("Value error, ")
                sentences.append(f"setting {name!r}: {said}, got {item.get('input')!r:.80}")
        raise ConfigurationError(f"{where}: " + "; ".join(sentences)) from None


def _value(text: str) -> object:
    """Read the right side of `--set`: JSON where it is JSON, `none` and `off` as null, else the text itself."""
    if text.lower() in ("none", "off", "null"):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_pairs(pairs: Iterable[str]) -> dict[str, object]:
    """Turn `section.key=value` texts into names and values.

    Raises
    ------
    UsageError
        When a text has no `=` or no dotted name.
    """
    changes: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or "." not in name:
            raise UsageError(f"--set must look like section.key=value, got {pair!r}")
        changes[name.strip()] = _value(text.strip())
    return changes


def load_settings(path: Path | None = None, pairs: Iterable[str] = ()) -> Settings:
    """Read the TOML file, if any, and lay the `--set` values over it.

    Raises
    ------
    ConfigurationError
        When the file cannot be read, or a setting is wrong; the sentence names it.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(f"configuration file {path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"configuration file {path} is not valid TOML: {error}") from None
    settings = _validated(tree, str(path) if path else "settings")
    return settings.changed(parse_pairs(pairs))


def check_endpoint(address: str) -> str:
    """Return a ZeroMQ address that is well-formed.

    Raises
    ------
    UsageError
        Otherwise.
    """
    if not _ENDPOINT.match(address) or (address.startswith("tcp") and not 0 < int(address.rsplit(":", 1)[1]) < 65536):
        raise UsageError(f"stream address must look like tcp://HOST:PORT with a port from 1 to 65535, got {address!r}")
    return address


def check_bind(stream: Stream) -> None:
    """Let the stream be bound where only this machine reaches it, or where the user has opened it.

    Raises
    ------
    ConfigurationError
        When other machines could send frames and nobody allowed it: the detector's stream knows no key.
    """
    if stream.bind and not stream.bind_open and not _LOOPBACK.match(stream.bind):
        raise ConfigurationError(
            f"stream.bind must be an address of this machine only, such as tcp://127.0.0.1:9999, got {stream.bind!r}; "
            "anyone who reaches that port could send frames: behind a firewall set stream.bind_open to true"
        )
