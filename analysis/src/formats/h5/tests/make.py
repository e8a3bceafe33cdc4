"""Makes the small HDF5 files beside it: `python make.py`, with h5py and hdf5plugin. Pixel (panel, row, column) of image n is
(1000 n + 300 panel + 20 row + column) mod 65536, so that every file is checked against the same formula."""

import h5py
import hdf5plugin
import numpy as np


def images(n, *shape):
    index = np.indices((n, *shape))
    weights = (1000, 300, 20, 1) if len(shape) == 3 else (1000, 20, 1)
    return sum(w * i for w, i in zip(weights, index)) % 65536


# NXmx as a Dectris detector's writer makes it: whole images, bitshuffle and LZ4, the oldest layout (B-tree version 1).
with h5py.File("nxmx.h5", "w", libver="earliest") as f:
    f["entry/definition"] = "NXmx"
    d = f.create_dataset("entry/data/data", data=images(3, 33, 40).astype("u2"), chunks=(1, 33, 40),
                         maxshape=(None, 33, 40), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))
    f["entry/instrument/detector/data"] = d
    for name, value in [("x_pixel_size", 75e-6), ("y_pixel_size", 75e-6), ("beam_center_x", 20.0),
                        ("beam_center_y", 16.0)]:
        f[f"entry/instrument/detector/{name}"] = value
    f["entry/instrument/detector/distance"] = 150.0
    f["entry/instrument/detector/distance"].attrs["units"] = "mm"
    f["entry/instrument/beam/incident_wavelength"] = 1.3
    mask = np.zeros((33, 40), "u4")
    mask[2, 3] = 1
    f["entry/instrument/detector/pixel_mask"] = mask

# CXI as Cheetah makes it, newest layout (extensible array), images cut into tiles, shuffle, gzip and sum; per image energy.
# Image 1 is not stored wholly: one of its tiles was never written.
with h5py.File("cxi.h5", "w", libver="latest") as f:
    data = images(4, 5, 12, 16).astype("i2")
    d = f.create_dataset("entry_1/data_1/data", shape=data.shape, dtype="i2", chunks=(1, 2, 12, 10),
                         maxshape=(None, 5, 12, 16), shuffle=True, compression="gzip", fletcher32=True)
    for n in (0, 2, 3):
        d[n] = data[n]
    d[1, 0:2, :, 0:10] = data[1, 0:2, :, 0:10]
    f["LCLS/photon_energy_eV"] = np.array([9500.0, 9501.0, 9502.0, 9503.0])
    f["LCLS/fiducial"] = np.array([7, 8, 9, 10], "u4")

# Fixed array (no unlimited dimension), several images in a chunk, bitshuffle without packing; beside it plain datasets in one
# piece, a single image in a single chunk, and LZ4 alone.
with h5py.File("other.h5", "w", libver="latest") as f:
    f.create_dataset("data", data=images(5, 8, 11).astype("u4"), chunks=(2, 8, 11),
                     **hdf5plugin.Bitshuffle(nelems=16, cname="none"))
    f["whole"] = images(3, 8, 11).astype("f4")
    f.create_dataset("single", data=images(1, 9, 7)[0].astype("i4"), chunks=(9, 7), compression="gzip")
    f.create_dataset("lz4", data=images(2, 16, 16).astype("u1"), chunks=(1, 16, 16), **hdf5plugin.LZ4(nbytes=128))
    f.create_dataset("tree", data=images(2, 6, 10).astype("f8"), chunks=(1, 3, 10), maxshape=(None, None, 10))
    f["flags"] = np.array([[True, False], [False, True]])

# Constants and a mask as a trial names them.
with h5py.File("constants.h5", "w") as f:
    f["calib/pedestals"] = np.arange(72, dtype="f4").reshape(3, 2, 3, 4)
    f["calib/pixel_gain"] = np.full((3, 2, 3, 4), 41.0)
    status = np.zeros((2, 3, 4), "u8")
    status[0, 1, 1] = 3
    f["calib/pixel_status"] = status
    f["mask"] = (status == 0).astype("u1")

# A master file as Dectris' detectors write it: links to two files of images and to one that is not there, what holds for all
# images beside; images compressed as theirs are.
for n, part in ((1, slice(0, 3)), (2, slice(3, 5))):
    with h5py.File(f"links_data_{n:06}.h5", "w", libver="earliest") as f:
        f.create_dataset("entry/data/data", data=images(5, 33, 40)[part].astype("u2"), chunks=(1, 33, 40),
                         maxshape=(None, 33, 40), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))
with h5py.File("links_master.h5", "w", libver="earliest") as f:
    f["entry/definition"] = "NXmx"
    for n in (1, 2, 3):
        f[f"entry/data/data_{n:06}"] = h5py.ExternalLink(f"links_data_{n:06}.h5", "/entry/data/data")
    for name, value in [("x_pixel_size", 75e-6), ("y_pixel_size", 75e-6), ("beam_center_x", 20.0),
                        ("beam_center_y", 16.0), ("detector_distance", 0.15)]:
        f[f"entry/instrument/detector/{name}"] = value
    f["entry/instrument/beam/incident_wavelength"] = 1.3

def source(n, images):
    return h5py.VirtualSource(f"links_data_{n:06}.h5", "/entry/data/data", (images, 33, 40))


# The same images as one virtual dataset, in the newest and the oldest layout.
for name, libver in (("virtual.h5", "latest"), ("virtual_earliest.h5", "earliest")):
    with h5py.File(name, "w", libver=libver) as f:
        layout = h5py.VirtualLayout((5, 33, 40), "u2")
        layout[0:3] = source(1, 3)
        layout[3:5] = source(2, 2)
        f.create_virtual_dataset("entry/data/data", layout)

# Virtual datasets that are not simply one file's images after the other's.
with h5py.File("virtual_other.h5", "w", libver="latest") as f:
    layout = h5py.VirtualLayout((5, 33, 40), "u2")
    layout[0:5:2] = source(1, 3)
    layout[1:5:2] = source(2, 2)
    f.create_virtual_dataset("entry/data/data", layout)
    layout = h5py.VirtualLayout((3, 66, 40), "u2")
    layout[:, :33] = source(1, 3)
    layout[:, 33:] = source(3, 3)
    f.create_virtual_dataset("panels", layout)
