"""What mmengine lacks: seeding by iteration, AMP on any device, atomic checkpoints, results, launching."""

from openmix.engine import amp, buffers, checkpoint, policy_hook, results, seeding

__all__ = ['amp', 'buffers', 'checkpoint', 'policy_hook', 'results', 'seeding']
