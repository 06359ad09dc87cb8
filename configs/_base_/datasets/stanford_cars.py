# Stanford-Cars as the other fine-grained sets: batch and transforms of CUB-200-2011, validation on the test images.
_base_ = 'cub200.py'

train_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
val_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
test_dataloader = val_dataloader
