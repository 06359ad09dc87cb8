default_scope = 'openmix'
randomness = dict(seed=0, deterministic=False)
env_cfg = dict(cudnn_benchmark=True)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='StepSeedHook'),
    dict(type='AlgorithmHook'),
    dict(type='RankZeroBuffersHook'),
    dict(type='FiniteLossHook'),
    dict(type='ResultHook'),
]

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer')
log_level = 'INFO'
load_from = None
resume = False
