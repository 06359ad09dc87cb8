"""Algorithms and data sets that the preflight accepts or rejects."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from openmix.algorithm import Algorithm
from openmix.mixups import MixContext
from openmix.registry import MIXUPS, MODELS


class Toy(Algorithm):
    """A classifier of digits that fails at the place `fails`."""

    answers = frozenset({'logits'})

    def __init__(self, backbone, policy=None, fails='', data_preprocessor=None):
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(16, 3 if fails == 'projector' else 10))
        self.head = nn.Linear(7 if fails == 'head' else 10, 10)
        self.policy = None if policy is None else MIXUPS.build(policy)
        self.fails = fails

    def loss(self, batch):
        x, y = batch['inputs'], batch['labels']
        if self.policy is not None:
            features = self.backbone(x)
            self.policy(features, MixContext(features, y))
        logits = self.logits(x)
        if self.fails == 'function':
            return {'loss': F.cross_entropy(logits[:, None], y)}
        if self.fails == 'own':
            raise ValueError('of the user')
        if self.fails == 'values':
            return {'loss': logits.mean() / logits.detach().std().item()}
        if self.fails == 'mask':
            return {'loss': logits[y > 3].mean()}
        if self.fails == 'odd':
            return {'loss': F.mse_loss(*logits.unflatten(0, (-1, 2)).unbind(1))}
        return {'loss': F.cross_entropy(logits, y), 'confidence': logits.detach().softmax(1).amax(1).mean()}

    def logits(self, x):
        return self.head(self.projector(self.backbone(x)))

    def predict(self, batch):
        return {'logits': self.logits(batch['inputs']), 'labels': batch['labels'], 'ids': batch['ids']}


class Returning(Toy):
    """An algorithm whose loss returns a given value."""

    returned = None

    def loss(self, batch):
        return type(self).returned(self.logits(batch['inputs']))


class Unanswered(Toy):
    answers = frozenset({'logits', 'embedding'})


class Answering(Toy):
    """An algorithm whose predict and networks return given values."""

    changed = networked = None

    def predict(self, batch):
        answer = super().predict(batch)
        return answer if type(self).changed is None else type(self).changed(answer)

    def networks(self):
        return {} if type(self).networked is None else type(self).networked(self)


class Lossless(Algorithm):
    answers = frozenset({'logits'})

    def __init__(self, backbone, data_preprocessor=None):
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)


class Nameless(Toy):
    def __init__(self, backbone, data_preprocessor=None):
        super().__init__(backbone, data_preprocessor=data_preprocessor)
        self.trunk = self.backbone
        del self.backbone


class TwoPools(Algorithm):
    """A consistency loss of two pools; `wrong`: the unlabelled images have another size than it wants."""

    def __init__(self, backbone, wrong=False):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(16, 10)
        self.wrong = wrong

    def loss(self, batch):
        labelled, unlabelled = batch['labelled'], batch['unlabelled']
        weak, strong = (self.head(self.backbone(x.float())) for x in unlabelled['inputs'].unbind(1))
        if self.wrong:
            self.head(unlabelled['inputs'].float())
        clean = F.cross_entropy(self.head(self.backbone(labelled['inputs'].float())), labelled['labels'])
        return {'loss': clean, 'consistency_loss': F.cross_entropy(strong, weak.detach().argmax(1))}


class Lists(Algorithm):
    """A detector-like loss of a list of images and boxes, of varying numbers."""

    def __init__(self, wrong=False):
        super().__init__()
        self.backbone = nn.Conv2d(1 if wrong else 3, 4, 3)

    def loss(self, batch):
        boxes = torch.cat(batch['boxes'])
        found = [self.backbone(image[None].float()).mean((0, 2, 3)) for image in batch['inputs']]
        own = torch.stack(found).repeat_interleave(torch.tensor([len(own) for own in batch['boxes']]), 0)
        return {'loss_box': (own - boxes).abs().mean(), 'boxes': boxes.new_tensor(len(boxes))}


class Told(Dataset):
    """A data set whose `example` depends on `kind`."""

    def __init__(self, kind=''):
        self.kind = kind

    def __len__(self):
        return 8

    @classmethod
    def example(cls, n, kind=''):
        def images(*shape):
            return torch.empty(shape, dtype=torch.uint8, device='meta')

        labels, ids = (torch.empty(n, dtype=torch.int64, device='meta') for _ in range(2))
        if kind == 'unknown':
            return None
        if kind == 'pools':
            labelled = {'inputs': images(n, 3, 16, 16), 'labels': labels, 'ids': ids}
            unlabelled = {'inputs': images(3 * n, 2, 3, 20, 20), 'ids': images(3 * n).long()}
            return {'labelled': labelled, 'unlabelled': unlabelled}
        if kind == 'lists':
            sizes = [(16 + i % 2, 24) for i in range(n)]
            boxes = [torch.empty(i % 3, 4, device='meta') for i in range(n)]
            return {'inputs': [images(3, *size) for size in sizes], 'boxes': boxes, 'ids': ids}
        return {'inputs': images(n, 2, 3, 16, 16), 'labels': labels, 'ids': ids}


class Untold(Dataset):
    def __len__(self):
        return 8
