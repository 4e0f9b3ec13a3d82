"""
Reading graphs
==============

What was computed, from what, and where in your source: the graph of a network as data, as text
and as a drawing.
"""

# %%
# The graph behind a tensor
# -------------------------
# Every tensor that was computed has a node, and every node its inputs' nodes.

import tinygrad_cnn as tg
from tinygrad_cnn import nn, viz

x = tg.ones(2, 3, requires_grad=True)
loss = (x * 2).exp().mean()
node = loss.grad_fn
while node is not None:
    print(node.name())
    node = node.next_functions[0][0] if node.next_functions else None

# %%
# A network
# ---------
# ``viz.trace`` runs a model once and returns its graph, module by module.

tg.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 7 * 7, 10)
)
graph = viz.trace(model, tg.randn(1, 3, 16, 16))
print(len(graph.nodes), "nodes")
for node in graph.nodes:
    print(f"{node.kind:10} {node.name:12} {tuple(node.shape)!s:16} {node.parameter_count or ''}")

# %%
# As a table
# ----------

print(viz.summary(model, tg.randn(1, 3, 16, 16)))

# %%
# As a drawing
# ------------
# On the command line, ``tinygrad-cnn graph FILE.py --out net.svg`` draws it; ``--out net.html``
# makes a page to fold, search and zoom, for which Graphviz is not needed.
#
# .. image:: /gallery/lenet5.svg
#    :alt: LeNet-5, drawn
