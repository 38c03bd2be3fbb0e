"""Purifiers in what people already use: each module is thin, and needs its library alone.

- `art`: the Adversarial Robustness Toolbox;
- `torchvision`: a step of its pipelines;
- `timm`: its models with their own data configuration;
- `huggingface`: folders as on the hub;
- `arrays`: NumPy arrays of bytes;
- `ray`: files by the machines of a Ray cluster.

Foolbox, torchattacks and pyautoattack need nothing: they take a `DefendedClassifier` as it is. Data
sets of Hugging Face are taken by `comdefend.evaluate` and `comdefend.certify`.
"""
