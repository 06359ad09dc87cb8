# Stanford-Cars with 15 % of the labels, as CUB-200-2011.
_base_ = 'cub200_few.py'

train_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
val_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
test_dataloader = val_dataloader
