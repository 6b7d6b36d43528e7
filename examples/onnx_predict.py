"""Cat or dog by a file that `catdog export` has written, without catdog_pl and PyTorch.

catdog export best --output model.onnx
pip install numpy onnxruntime pillow
python onnx_predict.py model.onnx cat.jpg dog.jpg
"""

import csv
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
size, names = int(about["image_size"]), next(csv.reader([about["class_names"]]))
resize = Image.Resampling[about["resize"].upper()]
for path in sys.argv[2:]:
    picture = Image.open(path).convert("RGB").resize((size, size), resize)
    (probability,) = session.run(None, {"pixels": np.asarray(picture)[None]})[0]
    print(f"{path} {names[int(probability > float(about['threshold']))]} {probability:.6f}")
