"""What `process` wrote into a folder, read by libhdf5 and Arrow and compared with the CSV: ends badly where they differ, prints
what there is as JSON."""

import csv
import json
import os
import sys

import h5py
import numpy
import pyarrow.parquet


def same(text, value):
    if text == "":
        return value is None
    if isinstance(value, str):
        return text == value
    return value is not None and type(value)(text) == value


def images(folder, hits):
    """The hits' images as CrystFEL finds them: each peak's pixel is brighter than the ring around it; how many there are."""
    listed = os.path.join(folder, "hits.lst")
    if not os.path.exists(listed):
        return None
    with open(os.path.join(folder, "hits.geom")) as file:
        keys = dict(line.strip().split(" = ", 1) for line in file if " = " in line and not line.startswith(";"))
    assert keys["dim0"] == "%" and keys["dim1"] == "ss" and keys["dim2"] == "fs", keys
    with open(listed) as file:
        names = file.read().split()
    counts, seen = [], 0
    for name in names:
        with h5py.File(os.path.join(folder, name), "r") as cxi:
            data, mask = cxi[keys["data"]], cxi[keys["mask"]][()]
            peaks = cxi[keys["peak_list"]]
            n = peaks["nPeaks"][()]
            assert cxi[keys["photon_energy"]].shape == n.shape and data.shape == (len(n), *mask.shape), data
            assert data.dtype == numpy.dtype("<f4") and set(numpy.unique(mask)) <= {0, 1}
            ends = [int(keys[key]) + 1 for key in ("p0a0/max_ss", "p0a0/max_fs") if key in keys]
            assert all(end <= size for end, size in zip(ends, mask.shape)), ends
            for number, count in enumerate(n):
                image, seen = data[number], seen + 1
                assert not image[mask == 1].any(), "bad pixels are empty"
                x = numpy.rint(peaks["peakXPosRaw"][number, :count]).astype(int)
                y = numpy.rint(peaks["peakYPosRaw"][number, :count]).astype(int)
                inner = (x > 4) & (y > 4) & (x < mask.shape[1] - 5) & (y < mask.shape[0] - 5)
                pairs = list(zip(x[inner], y[inner]))
                near = [image[b - 1 : b + 2, a - 1 : a + 2].max() for a, b in pairs]
                around = [numpy.nanmedian(image[b - 4 : b + 5, a - 4 : a + 5]) for a, b in pairs]
                assert (numpy.array(near) > numpy.array(around)).all()
            counts += n.tolist()
    assert counts == [int(row["spots"]) for row in hits], counts
    return seen


def main(folder):
    with open(os.path.join(folder, "results.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(os.path.join(folder, "results.parquet"))
    assert list(rows[0]) == table.column_names, table.column_names
    for row, other in zip(rows, table.to_pylist(), strict=True):
        for name, text in row.items():
            assert same(text, other[name]), (name, text, other[name])

    hits = [row for row in rows if row["outcome"] == "hit"]
    with h5py.File(os.path.join(folder, "spots.cxi"), "r") as cxi:
        assert cxi["cxi_version"][0] >= 140
        result = cxi["entry_1/result_1"]
        counts = result["nPeaks"][()]
        # As the readers of such files take them: a count per image, lists of one length, an image's own at their begin.
        assert counts.ndim == 1 and counts.dtype.kind == "i", counts
        assert counts.tolist() == [int(row["spots"]) for row in hits]
        lists = {name: data for name, data in result.items() if name.startswith("peak")}
        assert {"peakXPosRaw", "peakYPosRaw", "peakTotalIntensity"} <= set(lists), list(lists)
        for name, data in lists.items():
            assert data.dtype == numpy.dtype("<f4") and data.ndim == 2, (name, data)
            assert data.shape == lists["peakXPosRaw"].shape and data.shape[0] == len(hits), (name, data.shape)
            for count, line in zip(counts, data[()], strict=True):
                assert numpy.isfinite(line).all() and not line[count:].any(), name
                # No place is the first pixel's corner, no intensity nothing.
                assert name in ("peakXPosRaw", "peakYPosRaw", "peakBackground") or (line[:count] > 0).all(), name
        words = result.attrs["layout"]
        words = words.decode() if isinstance(words, bytes) else words
        slow, fast = (int(word) for word in words.split(" pixels")[0].split("plane of ")[1].split(" x "))
        x, y = lists["peakXPosRaw"][()], lists["peakYPosRaw"][()]
        assert ((x > -0.5) & (x < fast - 0.5) & (y > -0.5) & (y < slow - 0.5)).all()
        names = [name.decode().rstrip("\0 ") for name in result["image"][()]] if hits else []
        for name, row in zip(names, hits, strict=True):
            assert name.startswith(row["experiment"]) and name.endswith(row["event"]), name
        energies = cxi["LCLS/photon_energy_eV"][()]
        assert [float(row["photon_energy_ev"]) for row in hits] == energies.tolist()
        seconds = cxi["LCLS/machineTime"][()] + 1e-9 * cxi["LCLS/machineTimeNanoSeconds"][()]
        assert all(abs(float(row["unix_time_s"]) - at) < 1e-5 for row, at in zip(hits, seconds, strict=True))
        told = {
            "rows": len(rows),
            "hits": len(hits),
            "spots": int(counts.sum()),
            "plane": [slow, fast],
            "lists": list(x.shape),
            "images": images(folder, hits),
            "types": {field.name: str(field.type) for field in table.schema},
        }
    print(json.dumps(told))


main(sys.argv[1])
