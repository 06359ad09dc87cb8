"""Write small images and files in the official layouts."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def save_image(path: Path, height: int = 64, width: int = 64, seed: int = 0, mode: str = 'RGB') -> np.ndarray:
    """Save a smooth random image at `path`; return its pixels (H, W, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return np.asarray(image.convert('RGB'))


def write_cifar(root: Path, reader, per_file: int = 20) -> np.ndarray:
    """Write the official pickle files of a torchvision reader to `root`; return the training images (N, 3, 32, 32)."""
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


def write_imagenet(root: Path, wnids: list[str], train: int = 4, val: int = 2) -> None:
    """Write ImageNet's class folders with images of 48 x 64; the first image is grey, the second CMYK."""
    for c, wnid in enumerate(wnids):
        for i in range(train):
            mode = ('L', 'CMYK')[i] if c == 0 and i < 2 else 'RGB'
            save_image(root / 'train' / wnid / f'{wnid}_{i}.JPEG', 48, 64, 10 * c + i, mode)
        for i in range(val):
            save_image(
                root / 'val' / wnid / f'ILSVRC2012_val_{i * len(wnids) + c + 1:08d}.JPEG', 48, 64, 100 + 10 * c + i
            )


def write_cub200(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> None:
    """Write the folder CUB_200_2011: images of 40 x 56, alternately training and test images of a class."""
    folder = root / 'CUB_200_2011'
    names = [f'{c + 1:03d}.Kind_{c + 1}' for c in range(classes)]
    images, labels, halves = [], [], []
    for c, name in enumerate(names):
        for i in range(train + test):
            number = len(images) + 1
            save_image(folder / 'images' / name / f'bird_{i}.jpg', 40, 56, 10 * c + i)
            images.append(f'{number} {name}/bird_{i}.jpg')
            labels.append(f'{number} {c + 1}')
            halves.append(f'{number} {int(not (i % 2 and i // 2 < test))}')
    lists = {'images': images, 'image_class_labels': labels, 'train_test_split': halves}
    lists['classes'] = [f'{c + 1} {name}' for c, name in enumerate(names)]
    for file, lines in lists.items():
        (folder / f'{file}.txt').write_text('\n'.join(lines) + '\n')


def write_aircraft(root: Path, train: int = 2, val: int = 2, test: int = 2) -> None:
    """Write the folder fgvc-aircraft-2013b with three variants, which are not sorted by name."""
    folder = root / 'fgvc-aircraft-2013b' / 'data'
    variants = ['707-320', 'A300B4', '727-200 X']
    lines: dict[str, list[str]] = {'train': [], 'val': [], 'test': []}
    number = 1000000
    for variant in variants:
        for split, count in (('train', train), ('val', val), ('test', test)):
            for _ in range(count):
                number += 1
                save_image(folder / 'images' / f'{number}.jpg', 60, 70, number)
                lines[split].append(f'{number} {variant}')
    lines['trainval'] = lines['train'] + lines['val']
    for split, text in lines.items():
        (folder / f'images_variant_{split}.txt').write_text('\n'.join(text) + '\n')
    (folder / 'variants.txt').write_text('\n'.join(variants) + '\n')


def write_cars(root: Path, train: int = 4, test: int = 2) -> None:
    """Write the folder stanford_cars with three classes."""
    folder = root / 'stanford_cars'
    names = ['AM General Hummer SUV 2000', 'Acura RL Sedan 2012', 'Acura TL Sedan 2012']
    kind = [('bbox_x1', 'i4'), ('class', 'i4'), ('fname', object)]
    (folder / 'devkit').mkdir(parents=True)
    savemat(folder / 'devkit' / 'cars_meta.mat', {'class_names': np.array(names, object)})
    for split, file, count in (
        ('cars_train', 'devkit/cars_train_annos.mat', train),
        ('cars_test', 'cars_test_annos_withlabels.mat', test),
    ):
        rows = [(1, 1 + i % 3, f'{i + 1:05d}.jpg') for i in range(3 * count)]
        for i, (_, _, name) in enumerate(rows):
            save_image(folder / split / name, 44, 50, i)
        savemat(folder / file, {'annotations': np.array(rows, kind)})


def write_stl10(root: Path, train: int = 20, test: int = 30) -> np.ndarray:
    """Write the folder stl10_binary without unlabelled images; return the training images (N, 3, 96, 96)."""
    folder = root / 'stl10_binary'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    halves = []
    for split, count in (('train', train), ('test', test)):
        pixels = rng.integers(0, 256, (count, 3, 96, 96), np.uint8)
        pixels.transpose(0, 1, 3, 2).tofile(folder / f'{split}_X.bin')  # the files hold columns first
        (np.arange(count) % 10 + 1).astype(np.uint8).tofile(folder / f'{split}_y.bin')
        halves.append(pixels)
    return halves[0]
