"""The records of an ADEiger IOC (R3-6, eiger1.template with ADBase, NDArrayBase and NDFile), as a table.

`rbv`: ``Y`` a setpoint with a separate ``_RBV``, ``R`` only the ``_RBV``, ``N`` only the name itself.
"""

from dataclasses import dataclass
from typing import Any, Literal

from caproto import ChannelType
from caproto.server import PVGroup, pvproperty

from sim.detector import PIXEL_M, READOUT_TIME_S, SENSOR_THICKNESS_M, Geometry, count_cutoff
from sim.sample import WAVELENGTH_M, Experiment

Kind = Literal["analog", "calcout", "long", "binary", "multi", "string", "text"]

_INPUT = {"analog": "ai", "long": "longin", "binary": "bi", "multi": "mbbi", "string": "stringin", "text": "waveform"}
_OUTPUT = {
    "analog": "ao", "calcout": "calcout", "long": "longout", "binary": "bo", "multi": "mbbo", "string": "stringout",
    "text": "waveform",
}  # fmt: skip
_TYPES = {
    "analog": ChannelType.DOUBLE, "calcout": ChannelType.DOUBLE, "long": ChannelType.LONG, "binary": ChannelType.ENUM,
    "multi": ChannelType.ENUM, "string": ChannelType.STRING, "text": ChannelType.CHAR,
}  # fmt: skip

_UNIT_LENGTH = 7
"""Channel Access carries no more of a unit; the real record's "Angstrom" is cut there too."""

SWITCH = ("Disable", "Enable")
DETECTOR_STATES = (
    "Idle", "Acquire", "Readout", "Correct", "Saving", "Aborting", "Error", "Waiting", "Initializing", "Disconnected",
    "Aborted",
)  # fmt: skip
TRIGGER_MODES = ("Internal Series", "Internal Enable", "External Series", "External Enable", "Continuous")
DATA_TYPES = ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row: a record, its readback, first value, states, unit, precision and the bounds the driver clamps to."""

    name: str
    kind: Kind
    value: Any = 0
    rbv: Literal["Y", "R", "N"] = "Y"
    states: tuple[str, ...] = ()
    units: str = ""
    precision: int = 3
    low: float | None = None
    high: float | None = None
    length: int = 256
    readonly: bool = False


def table(geometry: Geometry, experiment: Experiment) -> list[Record]:
    """All records with their values at start, ready for the experiment the beamline is set up for."""
    return [
        *_eiger(geometry, experiment),
        *_interfaces(),
        *_status(),
        *_acquisition(experiment),
        *_arrays(geometry),
        *_unused_camera(geometry),
        *_files(),
    ]


def group_class(records: list[Record]) -> type[PVGroup]:
    """A caproto group with a PV for every record and readback; attributes are named as the records."""
    namespace: dict[str, Any] = {}
    for record in records:
        if record.rbv in "YN":
            record_type = (_INPUT if record.readonly else _OUTPUT)[record.kind]
            namespace[record.name] = _property(record, record.name, record_type, readonly=record.readonly)
        if record.rbv in "YR":
            namespace[f"{record.name}_RBV"] = _property(
                record, f"{record.name}_RBV", _INPUT[record.kind], readonly=True
            )
    made: type[PVGroup] = type(PVGroup)("EigerRecords", (PVGroup,), namespace)
    return made


def _property(record: Record, name: str, record_type: str, *, readonly: bool) -> Any:
    metadata: dict[str, Any] = {}
    if record.kind == "analog":
        metadata = {"units": record.units[:_UNIT_LENGTH], "precision": record.precision}
    elif record.kind in ("binary", "multi"):
        metadata = {"enum_strings": list(record.states)}
    elif record.kind == "text":
        metadata = {"max_length": record.length}
    return pvproperty(
        name=name,
        value=record.value,
        dtype=_TYPES[record.kind],
        record=record_type,
        read_only=readonly,
        alarm_group=name,  # of its own: records without one share a single alarm
        **metadata,
    )


def _analog(name: str, value: float, units: str = "", **more: Any) -> Record:
    return Record(name=name, kind="analog", value=float(value), units=units, **more)


def _long(name: str, value: int = 0, **more: Any) -> Record:
    return Record(name=name, kind="long", value=value, **more)


def _switch(name: str, value: int = 0, states: tuple[str, ...] = SWITCH, **more: Any) -> Record:
    kind: Kind = "binary" if len(states) == 2 else "multi"
    return Record(name=name, kind=kind, value=states[value], states=states, **more)


def _string(name: str, value: str = "", **more: Any) -> Record:
    return Record(name=name, kind="string", value=value, **more)


def _text(name: str, value: str = "", **more: Any) -> Record:
    return Record(name=name, kind="text", value=value, **more)


def _eiger(geometry: Geometry, experiment: Experiment) -> list[Record]:
    energy_ev = 12398.4198 / (WAVELENGTH_M * 1e10)
    angles = [
        _analog(f"{axis}{what}", 0.0, "deg")
        for axis in ("Chi", "Kappa", "Omega", "Phi", "TwoTheta")
        for what in ("Start", "Incr")
    ]
    return [
        _switch("TriggerMode", 0, TRIGGER_MODES),
        _long("NumTriggers", 1, low=1, high=2_000_000_000),
        _switch("ManualTrigger"),
        _analog("Trigger", 0.0, rbv="N"),
        _switch("Armed", 0, ("Unarmed", "Armed"), rbv="N", readonly=True),
        _long("SequenceId", rbv="N", readonly=True),
        _analog("PhotonEnergy", energy_ev, "eV", low=5000.0, high=40000.0),
        _analog("ThresholdEnergy", energy_ev / 2, "eV", low=2700.0, high=18000.0),
        _analog("EnergyEps", 0.05, "eV", low=0.0),
        _analog("WavelengthEps", 0.0005, "Angstrom", precision=4, low=0.0),
        _analog("Wavelength", WAVELENGTH_M * 1e10, "Angstrom", precision=4, low=0.31, high=2.48),
        _analog("BeamX", geometry.header_col, "pixels"),
        _analog("BeamY", geometry.header_row, "pixels"),
        _analog("DetDist", experiment.distance_m[geometry.name], "m", low=0.0),
        *angles,
        _switch("DataSource", 1, ("None", "FileWriter", "Stream")),
        _switch("ROIMode", 0, ("Disable", "4M")),
        _switch("CompressionAlgo", 0, ("LZ4", "BS LZ4")),
        _switch("FlatfieldApplied", 1),
        _switch("CountrateCorrApplied", 1),
        _switch("PixelMaskApplied", 1),
        _switch("AutoSummation", 1),
        _switch("SignedData", 0, ("Unsigned", "Signed")),
        _long("BitDepthImage", 32, rbv="R"),
        _analog("CountCutoff", count_cutoff(experiment.exposure_s), "counts", rbv="R", precision=0),
        _analog("DeadTime", READOUT_TIME_S, "s", rbv="R", precision=6),
        _analog("XPixelSize", PIXEL_M, "m", rbv="R", precision=6),
        _analog("YPixelSize", PIXEL_M, "m", rbv="R", precision=6),
        _analog("SensorThickness", SENSOR_THICKNESS_M, "m", rbv="R", precision=6),
        _string("SensorMaterial", "Si", rbv="R"),
        _string("Description", geometry.description, rbv="R"),
        _string("SerialNumber", geometry.serial_number, rbv="R"),
    ]


def _interfaces() -> list[Record]:
    return [
        _switch("FWEnable", 1),
        _switch("FWCompression", 1),
        _switch("FWAutoRemove", 0),
        _text("FWNamePattern", "series_$id"),
        _long("FWNImagesPerFile", 1000, low=0, high=1_000_000),
        _analog("FWFree", 0.0, "GB", rbv="R"),
        _string("FWState", "disabled", rbv="R"),
        _analog("FWClear", 0.0, rbv="N"),
        _switch("SaveFiles", 0),
        _string("FileOwner"),
        _string("FileOwnerGrp"),
        _string("FilePerms", "0644"),
        _switch("StreamEnable", 0),
        _switch("StreamHdrDetail", 0, ("All", "Basic", "None")),
        _text("StreamHdrAppendix", rbv="N", length=1024),
        _text("StreamImgAppendix", rbv="N", length=1024),
        _switch("StreamDecompress", 1),
        _string("StreamState", "disabled", rbv="R"),
        _long("StreamDropped", rbv="R"),
        _switch("MonitorEnable", 0),
        _analog("MonitorTimeout", 500.0, "ms", low=0.0),
        _string("MonitorState", "normal", rbv="R"),
    ]


def _status() -> list[Record]:
    links = [_switch(f"Link{i}", 1, ("Down", "Up"), rbv="R") for i in range(4)]
    return [
        *links,
        _analog("DCUBufferFree", 100.0, "%", rbv="R"),
        _string("State", "idle", rbv="R"),
        _string("Error", rbv="R"),
        _analog("Temp0", 27.3, "C", rbv="R"),
        _analog("Humid0", 4.1, "%", rbv="R"),
        _switch("Initialize", 0, ("Done", "Busy"), rbv="N"),
        _switch("Restart", 0, ("Done", "Busy"), rbv="N"),
        _switch("ReadStatus", 0, ("Done", "Read"), rbv="N"),
        _switch("DetectorState", 0, DETECTOR_STATES, rbv="R"),
        _text("StatusMessage", "Ready", rbv="R"),
        _text("StringToServer", rbv="R"),
        _text("StringFromServer", rbv="R"),
        _string("Manufacturer", "Dectris", rbv="R"),
        _string("FirmwareVersion", "1.6.0", rbv="R"),
        _string("SDKVersion", "1.6.0", rbv="R"),
        _string("DriverVersion", "3.6", rbv="R"),
        _string("ADCoreVersion", "3.14.0", rbv="R"),
    ]


def _acquisition(experiment: Experiment) -> list[Record]:
    longest = 3600.0
    return [
        Record(name="Acquire", kind="binary", value="Done", states=("Done", "Acquire"), rbv="N"),
        Record(name="Acquire", kind="binary", value="Done", states=("Done", "Acquiring"), rbv="R"),
        _switch("AcquireBusy", 0, ("Done", "Acquiring"), rbv="N", readonly=True),
        _switch("WaitForPlugins", 0, ("No", "Yes"), rbv="N"),
        _analog("AcquireTime", experiment.exposure_s, "s", low=3e-6, high=longest),
        _analog("AcquirePeriod", experiment.exposure_s + READOUT_TIME_S, "s", low=6e-6, high=longest),
        _long("NumImages", 1, low=1, high=2_000_000_000),
        _long("NumExposures", 1, low=1),
        _long("NumExposuresCounter", rbv="R"),
        _long("NumImagesCounter", rbv="R"),
        _analog("TimeRemaining", 0.0, "s", rbv="R"),
        _switch("ImageMode", 1, ("Single", "Multiple", "Continuous")),
        _switch("FrameType", 0, ("Normal", "Background", "FlatField", "DblCorrelation")),
        _switch("ShutterMode", 0, ("None", "EPICS PV", "Detector output")),
        _switch("ShutterControl", 0, ("Close", "Open")),
        _switch("ShutterControlEPICS", 0, ("Close", "Open"), rbv="N"),
        _switch("ShutterStatus", 0, ("Closed", "Open"), rbv="R"),
        _switch("ShutterStatusEPICS", 0, ("Closed", "Open"), rbv="R"),
        _analog("ShutterOpenDelay", 0.0, "s", low=0.0),
        _analog("ShutterCloseDelay", 0.0, "s", low=0.0),
        # Their OUT would name the shutter that the driver moves; it is empty.
        Record(name="ShutterOpenEPICS", kind="calcout", value=0.0, rbv="N"),
        Record(name="ShutterCloseEPICS", kind="calcout", value=0.0, rbv="N"),
        _long("ShutterFanout", rbv="N"),
    ]


def _arrays(geometry: Geometry) -> list[Record]:
    rows, cols = geometry.shape
    return [
        _string("PortName", "EIG", rbv="R"),
        _string("Model", geometry.description, rbv="R"),
        _long("MaxSizeX", cols, rbv="R"),
        _long("MaxSizeY", rows, rbv="R"),
        _long("ArraySizeX", cols, rbv="R"),
        _long("ArraySizeY", rows, rbv="R"),
        _long("ArraySizeZ", rbv="R"),
        _long("ArraySize", 4 * rows * cols, rbv="R"),
        _long("NDimensions", 2),
        _switch("DataType", 5, DATA_TYPES),
        _switch(
            "ColorMode",
            0,
            ("Mono", "Bayer", "RGB1", "RGB2", "RGB3", "YUV444", "YUV422", "YUV421"),
        ),
        _switch("ArrayCallbacks", 1),
        _long("ArrayCounter"),
        _analog("ArrayRate", 0.0, "Hz", rbv="R"),
        _text("NDAttributesFile", rbv="N"),
        _switch("NDAttributesStatus", 1, ("Attributes file OK", "File not found"), rbv="N"),
        _analog("PoolMaxMem", 0.0, "MB", rbv="N"),
        _analog("PoolUsedMem", 0.0, "MB", rbv="N"),
        _long("PoolAllocBuffers", rbv="N"),
        _long("PoolUsedBuffers", rbv="N"),
        _long("PoolFreeBuffers", rbv="N"),
        _long("AsynIO", rbv="N"),
    ]


def _unused_camera(geometry: Geometry) -> list[Record]:
    """Records of ADBase that an Eiger has, but that do nothing there."""
    rows, cols = geometry.shape
    return [
        _long("BinX", 1, low=1, high=1),
        _long("BinY", 1, low=1, high=1),
        _long("MinX", 0, low=0, high=0),
        _long("MinY", 0, low=0, high=0),
        _long("SizeX", cols, low=cols, high=cols),
        _long("SizeY", rows, low=rows, high=rows),
        _switch("ReverseX", 0, ("No", "Yes")),
        _switch("ReverseY", 0, ("No", "Yes")),
        _analog("Gain", 1.0),
        _analog("Temperature", 25.0, "C"),
        _analog("TemperatureActual", 27.3, "C", rbv="N", readonly=True),
    ]


def _files() -> list[Record]:
    return [
        _text("FilePath"),
        _switch("FilePathExists", 0, ("No", "Yes"), rbv="R"),
        _text("FileName"),
        _text("FileTemplate", "%s%s_%d.h5"),
        _text("FullFileName", rbv="R", length=512),
        _long("FileNumber", 0),
        _switch("AutoIncrement", 1, ("No", "Yes")),
        _switch("AutoSave", 0, ("No", "Yes")),
        _switch("FileFormat", 0, ("Undefined", "Invalid")),
        _switch("WriteFile", 0, ("Done", "Write")),
        _switch("ReadFile", 0, ("Done", "Read")),
        _switch("FileWriteMode", 0, ("Single", "Capture", "Stream")),
        _switch("WriteStatus", 0, ("Write OK", "Write error"), rbv="N", readonly=True),
        _text("WriteMessage", rbv="N", readonly=True),
        _switch("Capture", 0, ("Done", "Capture")),
        _long("NumCapture", 1, low=1),
        _long("NumCaptured", rbv="R"),
        _switch("DeleteDriverFile", 0, ("No", "Yes")),
        _long("CreateDirectory", 0),
    ]
