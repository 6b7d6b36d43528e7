"""The same checkpoint behind LitServe: ``litserve_server.py CHECKPOINT PORT``; forms have a ``file``."""

import sys
from typing import Any

import litserve
import numpy as np
import torch
from fastapi import Request

from catdog_pl.data.images import decode_pixels
from catdog_pl.models.checkpoint import load_checkpoint


class CatDog(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = load_checkpoint(sys.argv[1]).to(device)

    def decode_request(self, request: Request) -> Any:
        content: bytes = request["file"].file.read()  # LitServe passes the form
        return content

    def batch(self, inputs: list[bytes]) -> torch.Tensor:
        size = self.model.data_spec.image_size
        pixels = [decode_pixels(content, "picture", size, "lanczos") for content in inputs]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)

    def predict(self, x: torch.Tensor) -> Any:
        with torch.inference_mode():
            return self.model(x).sigmoid().numpy()

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"probability": float(output), "label": self.model.data_spec.class_names[int(output > 0.5)]}


if __name__ == "__main__":
    server = litserve.LitServer(CatDog(max_batch_size=32, batch_timeout=0.01), accelerator="cpu")
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
