"""The spots of a `.refl` file of DIALS as JSON: [panel, column, row] each, whole numbers are pixel centres."""

import json
import sys

from dials.array_family import flex

table = flex.reflection_table.from_file(sys.argv[1])
x, y, _ = table["xyzobs.px.value"].parts()
print(json.dumps([[int(p), a - 0.5, b - 0.5] for p, a, b in zip(table["panel"], x, y)]))
