"""Writers of small images and of files in the official layouts."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image


def save_image(path: Path, height: int = 64, width: int = 64, seed: int = 0, mode: str = 'RGB') -> np.ndarray:
    """A smooth random image under `path`; returns its pixels (H, W, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return np.asarray(image.convert('RGB'))


def write_cifar(root: Path, reader, per_file: int = 20) -> np.ndarray:
    """The official pickles of a torchvision reader under `root`; returns all training images (N, 3, 32, 32)."""
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    key = 'labels' if reader.meta['key'] == 'label_names' else 'fine_labels'
    classes = 10 if key == 'labels' else 100
    images = []
    for file, *_ in (*reader.train_list, *reader.test_list):
        data = rng.integers(0, 256, (per_file, 3072), np.uint8)
        entry = {'data': data, key: [i % classes for i in range(per_file)]}
        (folder / file).write_bytes(pickle.dumps(entry))
        images.append(data.reshape(-1, 3, 32, 32))
    (folder / reader.meta['filename']).write_bytes(pickle.dumps({reader.meta['key']: [str(i) for i in range(classes)]}))
    return np.concatenate(images[:-1])
