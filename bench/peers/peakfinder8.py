"""psana's peakfinder8 on frames that were written for it: one command per line of standard input, one line of JSON back.

    setup FOLDER ROWS COLUMNS ASIC_ROWS ASIC_COLUMNS THRESHOLD SNR MIN_PIXELS MAX_PIXELS BACKGROUND_RADIUS
    load N      frame N from FOLDER: N.values (f32), N.mask (i8); radius (f32) is the same for all
    find N      its spots, and the CPU seconds that they took
    forget

The extension is loaded alone, under an empty module psana: the rest of the wheel wants MPI and is not needed.
"""

import glob
import importlib.util
import json
import os
import sys
import time
import types

import numpy


def extension():
    found = glob.glob(os.path.join(sys.prefix, "lib*/python3*/site-packages/psana/peakfinder8*.so"))
    package = types.ModuleType("psana")
    package.__path__ = []
    sys.modules["psana"] = package
    spec = importlib.util.spec_from_file_location("psana.peakfinder8", found[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    peakfinder8 = extension()
    folder, shape, settings, frames = None, None, None, {}
    for line in sys.stdin:
        command, *words = line.split()
        answer = {}
        if command == "setup":
            folder = words[0]
            rows, columns, asic_rows, asic_columns = map(int, words[1:5])
            shape = (rows, columns)
            radius = numpy.fromfile(os.path.join(folder, "radius"), "f4").reshape(shape)
            # A ring that no pixel is in: the finder makes an index of what is no number.
            radius[~numpy.isfinite(radius)] = 0
            asics = (asic_columns, asic_rows, columns // asic_columns, rows // asic_rows)
            settings = (*asics, float(words[5]), float(words[6]), int(words[7]), int(words[8]), int(words[9]))
            frames = {}
        elif command == "load":
            read = lambda end, kind: numpy.fromfile(os.path.join(folder, words[0] + end), kind).reshape(shape)
            values, mask = read(".values", "f4"), read(".mask", "i1")
            mask[numpy.isnan(values)] = 0
            frames[words[0]] = (numpy.nan_to_num(values), mask)
        elif command == "find":
            values, mask = frames[words[0]]
            begun = time.process_time()
            found = peakfinder8.peakfinder_8(20000, values, mask, radius, *settings)
            answer["seconds"] = time.process_time() - begun
            answer["spots"] = [[float(x), float(y)] for x, y in zip(found[0], found[1])]
        elif command == "forget":
            frames = {}
        print(json.dumps(answer), flush=True)


main()
