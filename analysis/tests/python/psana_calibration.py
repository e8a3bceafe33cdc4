"""Makes the reference sums of `src/inputs/real.rs`: what psana's own routines give for the pixels of two real files and constants
that are made up by a formula.

    PYTHON tests/python/psana_calibration.py DATA

PYTHON has psana 4.3.4 and numpy (`./bench/run peers` installs them), DATA is the folder of the real files. Prints a line per sum:
detector, event, common mode, then sum, sum of magnitudes and sum weighted by the pixel's number modulo 1000, all in float64. The
files are read here by the layout that they have; psana's own reading wants a database of constants and MPI."""

import importlib.util
import struct
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np


def psana():
    """psana's routines without its package's own beginning, and without what they do not need here."""
    folder = Path(importlib.util.find_spec("psana").origin).parent
    for name in ("psana", "psana.detector", "psana.pycalgos"):
        sys.modules[name] = module = types.ModuleType(name)
        module.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
    for name in ("mpi4py", "psana.detector.UtilsCalib", "psana.detector.utils_psana", "psana.detector.UtilsMask",
                 "psana.pycalgos.utilsdetector"):
        sys.modules[name] = MagicMock()
    from psana.detector import UtilsEpix10ka, UtilsJungfrau
    return UtilsJungfrau, UtilsEpix10ka


TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "u1", "i4", "i4"]


def containers(data, at, end):
    """The containers in a stretch of bytes: source, type, begin and end of their payload."""
    while at < end:
        source, _, kind, extent = struct.unpack_from("<IHHI", data, at)
        yield source, kind & 0xFFF, at + 12, at + extent
        at += extent


def leaves(data, at, end):
    for source, kind, begin, stop in containers(data, at, end):
        if kind == 0:
            yield from leaves(data, begin, stop)
        else:
            yield source, kind, begin, stop


def word(data, at):
    return data[at:at + 256].split(b"\0")[0].decode()


def names(data, begin, end):
    """Detector, segment, algorithm, and the fields as name, type and rank."""
    arrays, = struct.unpack_from("<I", data, begin)
    detector, algorithm = word(data, begin + 260), word(data, begin + 772)
    segment, = struct.unpack_from("<I", data, begin + 1032)
    at = begin + 1036
    fields = [(word(data, i + 260), *struct.unpack_from("<II", data, i + 516)) for i in range(at, end, 524)]
    return detector, segment, algorithm, fields


def values(data, begin, end, fields):
    """The fields of one ShapesData."""
    parts = {kind: (first, last) for _, kind, first, last in containers(data, begin, end)}
    (shapes, _), (at, _) = parts[2], parts[3]
    found, array = {}, 0
    for name, kind, rank in fields:
        dims = ()
        if rank:
            dims = struct.unpack_from("<5I", data, shapes + 20 * array)[:rank]
            array += 1
        count = int(np.prod(dims, dtype=np.int64))
        one = np.frombuffer(data, "<" + TYPES[kind], count, at)
        found[name] = one.reshape(dims)
        at += one.nbytes
    return found


def events(path, detector):
    """The segments' configuration by segment, and of each event their raw pixels stacked in order."""
    data, at, known, configuration, images = path.read_bytes(), 0, {}, {}, []
    while at < len(data):
        env, = struct.unpack_from("<I", data, at + 8)
        extent, = struct.unpack_from("<I", data, at + 20)
        raw = {}
        for source, kind, begin, end in leaves(data, at + 24, at + 12 + extent):
            if kind == 4:
                known[source] = names(data, begin, end)
            elif kind == 1 and source in known and known[source][0] == detector:
                _, segment, algorithm, fields = known[source]
                if algorithm == "config":
                    configuration[segment] = values(data, begin, end, fields)
                elif env >> 24 & 15 == 12 and algorithm == "raw":
                    raw[segment] = values(data, begin, end, fields)["raw"]
        if raw:
            pixels = np.stack([raw[segment] for segment in sorted(raw)])
            images.append(pixels.reshape(-1, *pixels.shape[-2:]))
        at += 12 + extent
    return configuration, images


def told(*key, result):
    flat = np.asarray(result, np.float64).ravel()
    sums = flat.sum(), np.abs(flat).sum(), (flat * (np.arange(flat.size) % 1000)).sum()
    print(*key, *(repr(float(one)) for one in sums), sep="\t")


def constants(shape, modes, of):
    """`of` a mode and the pixels' numbers, as float32 such as a file holds."""
    i = np.arange(np.prod(shape))
    return np.stack([np.broadcast_to(of(mode, i), i.shape).astype("f4").reshape(shape) for mode in range(modes)])


def jungfrau(routines, path):
    for event, raw in enumerate(events(path, "jungfrau")[1]):
        shape, i = raw.shape, np.arange(raw.size).reshape(raw.shape)
        stage = np.where(i % 75 == 0, 0xC000, np.where(i % 50 == 0, 0x4000, raw & 0xC000))
        raw = (raw & 0x3FFF | stage).astype("u2")
        pedestals = constants(shape, 3, lambda mode, i: [2390 + i * 7919 % 41, 12500 + i * 104729 % 701,
                                                         13000 + i * 31 % 503][mode])
        offsets = constants(shape, 3, lambda _, i: i * 13 % 17 - 8.0)
        gains = constants(shape, 3, lambda mode, i: [41.0 + i % 11 * 0.1, -1.45 - i % 7 * 0.01,
                                                     -0.115 - i % 5 * 0.001][mode])
        mask = (i % 997 != 0).astype("u1")
        for mode in (0, 1, 2, 4, 7):
            result = routines.calib_jungfrau_single_panel(raw, np.float32(1) / gains, pedestals + offsets, mask,
                                                          (7, mode, 100, 10))
            told("jungfrau", event, mode, result=result)


def epix10ka(routines, path):
    configuration, images = events(path, "epixquad")
    own = np.stack([routines.cbits_config_epix10ka(types.SimpleNamespace(
        trbit=configuration[segment]["trbit"], asicPixelConfig=configuration[segment]["asicPixelConfig"][:, :176]))
        for segment in sorted(configuration)])
    for event, raw in enumerate(images):
        shape, i = raw.shape, np.arange(raw.size).reshape(raw.shape)
        pedestals = constants(shape, 7, lambda mode, i: 3080 + 20 * mode + i * 7919 % (31 + mode))
        gains = constants(shape, 7, lambda mode, i: [16.4, 5.466, 0.164][[0, 1, 2, 0, 1, 2, 2][mode]]
                          * (1.0 + 0.001 * ((i + mode) % 13)))
        mask = (i % 991 != 0).astype("u1")
        seven = np.array([28, 12, 8, 16, 0], "u1")[i // 7 % 5]
        some = np.where(i % 40 == 0, raw, raw & 0x3FFF)
        for name, bits, raw, modes in (("own", own, raw, (0, 7)), ("made", seven, some, (0, 1, 2, 4, 7))):
            for mode in modes:
                groups = routines.gain_maps_epix10ka_any_alg(bits | (raw & 0x4000) >> 9)
                adu = np.array(raw & 0x3FFF, "f4") - routines.event_constants_for_gmaps(groups, pedestals)
                store = types.SimpleNamespace(cmpars=(7, mode, 100, 10), mask=mask, arr1=np.ones_like(mask))
                routines.common_mode_epix_multigain_apply(adu, groups, store)
                factor = routines.event_constants_for_gmaps(groups, np.float32(1) / gains)
                told(f"epix10ka-{name}", event, mode, result=adu * factor * mask)


def main():
    files = Path(sys.argv[1]) / "xtc2"
    of_jungfrau, of_epix10ka = psana()
    jungfrau(of_jungfrau, files / "test_jungfrau05M_calib.xtc2")
    epix10ka(of_epix10ka, files / "test_epix_calib.xtc2")


main()
