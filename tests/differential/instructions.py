"""The table of instructions: a line each, by group.

What stands in braces is drawn by the method of that name in `drawing.Drawing`, from left to right; a
name with a digit behind it is drawn once more, and one that stands twice is the same text. What is
drawn for `{axis}`, `{index}` and the like fits the tensor that was drawn last. Every line may also
run under ``no_grad``.
"""
# ruff: noqa: E501  (an instruction is a line)

from __future__ import annotations

__all__ = ["CLOSING", "GROUPS", "LEFT_OUT", "OPENING", "SEES", "WEIGHTS"]

# Groups that come twice as often.
WEIGHTS = {"in place": 2, "backward": 2, "modules": 2}

_TABLE = {
    "create": """
        {newx} = tensor({seed}, {shape})
        {newx} = tensor({seed}, {shape}).requires_grad_()
        {newx} = tensor({seed}, {image_shape})
        {newx} = tensor({seed}, {image_shape}).requires_grad_()
        {newx} = spread({seed}, {shape}).requires_grad_()
        {newx} = T.nn.Parameter(tensor({seed}, {shape}))
        {newx} = T.zeros({size}, dtype=D)
        {newx} = T.full({size}, {number}, dtype=D)
        {newx} = T.tensor({number}, dtype=D, requires_grad=True)
        {newx} = T.ones_like({x})
        {newx} = T.zeros_like({x}, requires_grad=True)
        {newx} = {x}
        {newx} = copy.deepcopy({leaf})
        {newb} = {x} > {number}
        {newi} = T.tensor({integers})
    """,
    "arithmetic": """
        {newx} = {x} + {operand}
        {newx} = {x} - {operand}
        {newx} = {number} - {x}
        {newx} = {x} * {operand}
        {newx} = {x} * {x}
        {newx} = {x} * 2
        {newx} = {x} / ({operand} * 0 + 2)
        {newx} = {x} / 4
        {newx} = -{x}
        {newx} = {x}.relu()
        {newx} = T.nn.functional.relu({x})
        {newx} = T.nn.functional.leaky_relu({x}, 0.1)
        {newx} = {x}.clamp(-2, 2).sigmoid()
        {newx} = {x}.clamp(-2, 2).tanh()
        {newx} = {x}.clamp(max=2).exp()
        {newx} = ({x}.abs() + 1).log()
        {newx} = ({x}.abs() + 1).sqrt()
        {newx} = {x}.abs()
        {newx} = {x} ** 2
        {newx} = {x}.square()
        {newx} = {x}.clamp(-1, 1)
        {newx} = {x}.clamp(min={number})
        {newx} = T.maximum({x}, {tensor})
        {newx} = {x}.where({mask}, {operand})
        {newx} = T.where({x} > 0, {x}, {operand})
        {newx} = {x}.masked_fill({mask}, {number})
        {newx} = {x}.masked_select({mask})
        {newx} = {x}.clone()
        {newx} = {x}.double().to(D)
        {newx} = T.lerp({x}, {tensor}, 0.25)
        {newx} = T.addcmul({x}, {tensor}, {tensor2}, value=0.5)
    """,
    "reductions": """
        {newx} = {x}.sum()
        {newx} = {x}.sum({axis})
        {newx} = {x}.sum({axis}, keepdim=True)
        {newx} = {x}.mean()
        {newx} = {x}.mean({axis})
        {newx} = {x}.var({axis}, unbiased=False)
        {newx} = {x}.amax({axis})
        {newx} = {x}.max({axis}).values
        {newx} = {x}.max()
        {newx} = {x}.norm()
        {newx} = {x}.cumsum({axis})
        {newx} = {x}.clamp(-2, 2).softmax({axis})
        {newx} = {x}.log_softmax({axis})
        {newx} = {x}.logsumexp({axis})
        {newx} = {x}.sort({axis}).values
        {newx} = {matrix} @ {matrix}.t()
        {newx} = {matrix} @ tensor({seed}, {columns}, 3)
        {newx} = T.nn.functional.mse_loss({x}, like({x}, {seed}))
    """,
    "joining": """
        {newx} = T.cat([{x}, {x}], {axis})
        {newx} = T.cat([{x}, like({x}, {seed})], {axis})
        {newx} = T.stack([{x}, {alike}])
        {newx} = T.cat([{x}, {alike}], {axis})
        {newx} = {x}.flip({axis})
        {newx} = {x}.roll(1, {axis})
        {newx} = T.nn.functional.pad({x}, (1, 0))
        {newx} = {x}.index_select({axis}, {positions})
        {newx} = {x}.gather({axis}, {x}.long() * 0)
        {newx} = {x}.index_add({axis}, {positions}, tensor({seed}, {slices}))
        {newx} = {x}.repeat(2, *[1] * {x}.ndim)
        {newx} = {x}.tril() if {x}.ndim > 1 else {x}.cumsum({axis})
    """,
    "views": """
        {newx} = {x}.transpose({axis}, {axis2})
        {newx} = {x}.permute({permutation})
        {newx} = {x}.reshape({reshaped})
        {newx} = {x}.view({reshaped})
        {newx} = {x}.flatten()
        {newx} = {x}.squeeze()
        {newx} = {x}.squeeze({axis})
        {newx} = {x}.unsqueeze({axis_or_end})
        {newx} = {x}.expand({expanded})
        {newx} = {x}.diagonal()
        {newx} = {x}.diagonal(1, -1, 0)
        {newx} = {x}.narrow({axis}, {position}, 1)
        {newx} = {x}.select({axis}, {position})
        {newx} = {matrix}.T
        {newx} = {matrix}.t()
        {newx} = {x}.contiguous()
        {newx} = {x}[{basic}]
        {newx} = {x}[{basic}]
    """,
    "parts": """
        {newx} = {x}.unbind({axis})[{position}]
        {newx} = {x}.split({small}, {axis})[0]
        {newx} = {x}.chunk(2, {axis})[-1]
        {newx}, {newx2} = {x}.chunk(2, {axis})
    """,
    "getitem": """
        {newx} = {x}[{index}]
        {newx} = {x}[{index}]
        {newx} = {x}[{index}] * {number}
    """,
    "setitem": """
        {target} = {source}
        {target} = {source}
        {target} = {number}
        {named} += {source}
        {named} *= {number}
        {leaf}.data[{unique}] = {number}
    """,
    "in place": """
        {w}.add_({source})
        {w}.sub_({source}, alpha=2)
        {w}.mul_({source})
        {w}.div_(2)
        {w} += {source}
        {w} *= {source}
        {w} -= {number}
        {w} /= 2
        {w}.zero_()
        {w}.fill_({number})
        {w}.fill_({scalar})
        {w}.copy_({source_tensor})
        {w}.relu_()
        {w}.clamp_(-1, 1)
        {w}.clamp_(min={number})
        {w}.neg_()
        {w}.abs_()
        {w}.clamp_(-2, 2).sigmoid_()
        {w}.clamp_(-2, 2).tanh_()
        {w}.square_()
        {w}.pow_(2)
        {w}.addcmul_({source_tensor}, {source_tensor2}, value=0.5)
        {w}.lerp_({source_tensor}, 0.25)
        {w}.masked_fill_({mask}, {number})
        {w}.masked_fill_({mask}, {scalar})
        {w}.masked_scatter_({mask}, tensor({seed}, {numel}))
        {w}.index_fill_({axis}, {positions}, {number})
        {w}.index_add_({axis}, {positions}, tensor({seed}, {slices}))
        {w}.index_copy_({axis}, {positions}, tensor({seed}, {slices}).requires_grad_())
        {w}.index_put_(({vector},), tensor({seed}))
        {w}.index_put_(({vector},), tensor({seed}).requires_grad_(), accumulate=True)
        {w}.scatter_add_({axis}, {w}.detach().long() * 0, like({w}, {seed}))
        T.nn.functional.relu({w}, inplace=True)
        {newx} = {w}.mul_(2)
    """,
    "indices": """
        {newx} = {x}.index_select({axis}, {i})
        {newx} = {x}[{i}]
        {w}.index_fill_({axis}, {i}, {number})
        {newx} = {x}.masked_fill({b}, {number})
        {newx} = {x}[{b}]
        {newx} = T.where({b}, {x}, {number})
        {b}.fill_(True)
        {b}[...] = False
        {i}.zero_()
        {i}.add_(1)
    """,
    "data": """
        {newx} = {x}.detach()
        {newx} = {x}.data
        {full}.data.mul_(2)
        {full}.data.zero_()
        {full}.data.add_({source})
        {base}.data = {alike}.data
        {base}.data = {base}.data * 0.5
        {base}.data = like({base}, {seed})
        {constant}.data = tensor({seed}, {shape})
        {full}.data[{basic}] = {number}
        {full}.detach().mul_(2)
        {full}.detach().zero_()
        {full}.detach()[{basic}] = {number}
    """,
    "numpy": """
        {newa} = {full}.detach().numpy()
        {newa} = {full}.data.numpy()
        {newa} = np.asarray({full}.detach())
        {full}.detach().numpy()[...] = {number}
        {full}.detach().numpy()[{basic}] = {number}
        {full}.detach().numpy()[...] *= 2
        {a}[...] = {number}
        {a}[...] *= 2
        {a} += 1
        {newx} = T.from_numpy({a})
        {newx} = T.as_tensor({a})
        {newx} = T.tensor({a})
    """,
    "flags": """
        {alone}.requires_grad_()
        {hooked}.retain_grad()
        {leaf}.grad = None
        {leaf}.grad = like({leaf}, {seed})
        {known}.grad.zero_()
        {known}.grad.mul_(2)
        {newx} = {known}.grad
        {leaf}.data -= 0.125 * {leaf}.grad
        {leaf}.grad.detach_()
    """,
    "no leaf any more": """
        {leaf}.requires_grad_(False)
        {alone}.detach_()
    """,
    "backward": """
        {graph}.backward(like({graph}, {seed}), retain_graph=True)
        {graph}.sum().backward(retain_graph=True)
        ({graph} * {graph}).sum().backward(retain_graph=True)
        {graph}.backward(like({graph}, {seed}), retain_graph=True, inputs=[{leaf}])
        {newx} = T.autograd.grad({graph}, {needs}, like({graph}, {seed}), retain_graph=True, allow_unused=True)[0]
        {newx} = T.autograd.grad({graph}, [{needs}, {needs2}], like({graph}, {seed}), retain_graph=True, materialize_grads=True)[1]
        T.autograd.backward([{graph}, {graph2}], [like({graph}, {seed}), like({graph2}, {seed2})], retain_graph=True)
    """,
    "freed graphs": """
        {graph}.backward(like({graph}, {seed}))
        {graph}.sum().backward()
        {newx} = T.autograd.grad(({graph} * {graph}).sum(), {needs}, allow_unused=True)[0]
    """,
    "double backward": """
        {newx} = T.autograd.grad({graph}, {needs}, like({graph}, {seed}), create_graph=True, allow_unused=True)[0]
        {newx} = T.autograd.grad(({graph} * {graph}).sum(), {needs}, create_graph=True, allow_unused=True)[0]
        {graph}.backward(like({graph}, {seed}), create_graph=True)
        ({known}.grad * like({known}, {seed})).sum().backward(retain_graph=True)
    """,
    "hooks": """
        {hooked}.register_hook(hook({label}))
        {hooked}.register_hook(hook({label}, lambda g: g * 2))
        {hooked}.register_hook(hook({label}, lambda g: g - 1))
        {hooked}.register_hook(hook({label}, fail))
        {newh} = {hooked}.register_hook(hook({label}, lambda g: -g))
        {h}.remove()
        {hooked}.retain_grad()
        {leaf}.register_post_accumulate_grad_hook(lambda p: log({label}, p.grad))
    """,
    "hooks of views": """
        {seen}.register_hook(hook({label}))
        {seen}.register_hook(hook({label}, lambda g: g * 2))
        {seen}.retain_grad()
    """,
    "modules": """
        {newm} = build({seed}, "Conv2d", {c}, {c}, 3, padding=1)
        {newm} = build({seed}, "Conv2d", {c}, {c}, 3, padding=1, bias=False)
        {newm} = build({seed}, "Conv2d", {c}, {c}, 3, stride=2, padding=1)
        {newm} = build({seed}, "Conv2d", {c}, {c}, 3, padding=1, groups={c})
        {newm} = build({seed}, "Conv2d", {c}, {c}, 1)
        {newm} = build({seed}, "BatchNorm2d", {c})
        {newm} = build({seed}, "BatchNorm2d", {c}).eval()
        {newm} = build({seed}, "BatchNorm2d", {c}, affine=False)
        {newm} = T.nn.ReLU()
        {newm} = T.nn.ReLU(inplace=True)
        {newm} = T.nn.MaxPool2d(2)
        {newm} = T.nn.AvgPool2d(2)
        {newm} = T.nn.Sequential({m}, {m2}, {m3})
        {newm} = Residual({m}, {m2})
        {newm} = copy.deepcopy({m})
        {newx} = {m}({image})
        {newx} = {m}({image})
        {newx} = {m}({image})
        {newx} = {m}({m2}({image}))
        {newx} = {m}({image}) + {m2}({image})
        {newx} = {m}({image}).relu()
        {m}.eval()
        {m}.train()
        {m}.zero_grad()
        {m}.requires_grad_(False)
        {m}.load_state_dict({twin}.state_dict())
        {newx} = next({m}.parameters())
    """,
    "images": """
        {newx} = T.nn.functional.conv2d({image}, {filters}, padding=1)
        {newx} = T.nn.functional.conv2d({image}, {filters}, {bias}, stride=2)
        {newx} = T.nn.functional.batch_norm({image}, None, None, {bias}, {bias2}, training=True)
        {newx} = T.nn.functional.batch_norm({image}, {mean}, {mean} * 0 + 1, training=False)
        {newx} = T.nn.functional.max_pool2d({image}, 2)
        {newx} = T.nn.functional.max_pool2d({image}, 3, stride=1, padding=1)
        {newx} = T.nn.functional.avg_pool2d({image}, 2)
        {newx} = T.nn.functional.adaptive_avg_pool2d({image}, 1)
        {newx} = T.cat([{image}, {image2}], 1)
        {newx} = {image} + {image2}
        {newx} = {image}.relu()
        {newx} = {image} + tensor({seed}, {c}, 1, 1)
        {newx} = tensor({seed}, {c}, {c}, 3, 3).requires_grad_()
    """,
    "module hooks": """
        {m}.register_forward_hook(after({label}))
        {m}.register_forward_hook(after({label}, lambda y: y * 2))
        {m}.register_forward_hook(after({label}, lambda y: y.relu_()))
        {newh} = {m}.register_forward_hook(after({label}, fail))
        {m}.register_forward_pre_hook(before({label}))
        {m}.register_forward_pre_hook(before({label}, lambda x: x + 1))
        {h}.remove()
    """,
    "module backward hooks": """
        {newh} = {m}.register_full_backward_hook(lambda m, g, h: log({label}, h[0]))
        {newh} = {m}.register_full_backward_hook(lambda m, g, h: (g[0] * 2,))
    """,
    "functions": """
        {newx} = Product.apply({x}, {tensor})
        {newx} = AddInPlace.apply({w}, {source_tensor})
        {newx} = AddInPlace.apply({x} * 1, {tensor})
        {newx}, {newx2} = Halves.apply({x}, False)
        {newx}, {newx2} = Halves.apply({x}, True)
    """,
    "optimizers": """
        {newo} = T.optim.SGD([{leaf}], lr=0.125)
        {newo} = T.optim.SGD([{leaf}], lr=0.125, momentum=0.5)
        {newo} = T.optim.Adam([{leaf}], lr=0.125, eps=0.25)
        {newo} = T.optim.SGD({m}.parameters(), lr=0.125, weight_decay=0.25)
        {newo} = T.optim.Adam({m}.parameters(), lr=0.125, eps=0.25)
        {o}.step()
        {o}.step()
        {o}.zero_grad()
        {o}.zero_grad(set_to_none=False)
    """,
    "errors": """
        {newx} = {x}.reshape(7, 11)
        {newx} = {x} + tensor({seed}, 11, 13)
        {w}.add_(tensor({seed}, 11, 13))
        {w}[{basic}] = tensor({seed}, 11, 13)
        {newx} = {x}[99]
        {newx} = {m}(tensor({seed}, 2, 2))
        {newx} = T.nn.Sequential({m}, Failing())({image})
        {newx} = Failing()({m}({image}))
        {graph}.backward(tensor({seed}, 11, 13))
        {full}.data[...] = None
    """,
    "reads": """
        log({label}, {x})
        log({label}, {x})
        log({label}, {x}.sum())
        log({label}, {x}.grad)
        log({label}, {x}.detach().flatten()[:1])
        {x}.tolist()
        repr({x})
    """,
    "del": """
        del {any}
        del {any}
        del {x}
    """,
    "modes": """
        T.set_grad_enabled(False)
        T.set_grad_enabled(True)
        T.set_grad_enabled(True)
    """,
    "dlpack": """
        {newa} = np.from_dlpack({x}.detach())
    """,
}
GROUPS = {
    name: tuple(line.strip() for line in text.strip().splitlines()) for name, text in _TABLE.items()
}

SEES = (
    "views",
    "parts",
    "getitem",
)  # groups whose results share memory: not drawn where nothing is recorded
OPENING = tuple(line for line in GROUPS["create"] if line.startswith("{newx} = tensor("))
CLOSING = "{graph}.backward(like({graph}, {seed}), retain_graph=True)"

# What is not drawn, and why.
LEFT_OUT = {
    "a write from memory that overlaps its target in part": "PyTorch raises where it notices, "
    "which hangs on strides; we write what the source held before",
    "an index that repeats, in a write without accumulate": "PyTorch says that it is undefined "
    "which value stays; we: the last",
    "slices with a negative step": "PyTorch refuses them; NumPy's arrays and we do not",
    "a hook that changes its gradient in place": "PyTorch's documentation forbids it",
    "how far a backward pass came that raised": "hangs on the order of nodes that do not depend on "
    "each other: hooks of the pass are not compared, and gradients are forgotten",
    "a change of a view of a constant that another view has made part of a graph": "PyTorch takes "
    "the view for a leaf and refuses; so it does with `x[0] += y` of a view x of a constant",
    "`data =` of a view": "PyTorch goes on to differentiate it as a view of its base",
    "writes to expanded memory": "PyTorch refuses some and allows others; we refuse all",
    "gradients of two leaves in one memory": "PyTorch adds later gradients to both: they are "
    "forgotten",
    "results that are all but constant, such as tanh(20)": "which are equal hangs on the last bit",
    "views and requires_grad_() of their base": "in PyTorch a view has whether it needs a gradient "
    "from its base, even if it was made before",
    "a view made under no_grad of what needs a gradient": "in PyTorch it claims to be a leaf that "
    "needs one, and collects it",
    "inference_mode": "our documentation: what is made inside is an ordinary constant outside",
    "random numbers": "the generators differ",
}
