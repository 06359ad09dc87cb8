"""AMix-C on digits, as Automatic Mixup, Sections 3 and 4.2.

20 clusters; the least size of a cluster and the intervals are a choice, since the paper states none.
Command: python tools/train.py selfsup/digits/amix_c_paper.py
"""

_base_ = ['amix_i_paper.py', '../../_base_/selfsup/amix_c.py']

model = _base_.pop('amix_c')
model.bank.update(clusters=20, least=10, centroids_every=20, small_every=10)
