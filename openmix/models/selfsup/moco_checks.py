"""Checks of the options of MoCo, and of its queue against a batch and the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.dist import get_world_size

from openmix.errors import InputError, check_number


def checked_weights(name: str, weights: Sequence[float], mixes: bool) -> tuple[float, float]:
    """Return the weights of the two losses.

    Raises:
        InputError: they are not two numbers from 0, of which one is above and computed.
    """
    if isinstance(weights, (str, Mapping)) or not isinstance(weights, Sequence) or len(weights) != 2:
        raise InputError(f'{name}: weights must be two numbers, of clean and of mixed images, got {weights!r}')
    for weight in weights:
        check_number(f'{name}: every number of weights', weight, 0.0)
    if mixes and not weights[1]:
        raise InputError(f'{name}: the weight of mixed images is 0, and there is a policy; leave policy out')
    if not mixes and not weights[0]:
        raise InputError(f'{name}: the weight of clean images is 0, and there is no policy; give one')
    return weights[0], weights[1]


def check_queue(name: str, length: int, n: int) -> None:
    """Check that the queue of an algorithm takes batches of n images of every process.

    Raises:
        InputError: it does not.
    """
    processes = get_world_size()
    if length % (n * processes):
        of = f'{n} images' if processes == 1 else f'{processes} x {n} images'
        raise InputError(
            f'{name}: queue is {length}, no multiple of a batch of {of}; set model.queue to one, such as '
            f'{n * processes * max(1, round(length / (n * processes)))}, and train_dataloader.drop_last=True'
        )


def check_queue_of_data(name: str, length: int, images: int) -> None:
    """Check that the queue of an algorithm is not longer than the data.

    Raises:
        InputError: it is.
    """
    if length > images:
        raise InputError(
            f'{name}: queue is {length}, and there are {images} training images, so that it would hold keys of an '
            f'image beside its positive; set model.queue to at most {images}'
        )
