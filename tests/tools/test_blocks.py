from tools.docs.blocks import blocks

PAGE = """# Page

<!-- needs: train; adds: --steps 2 -->
```
comdefend recipe photo > mine.yaml
comdefend train mine.yaml --output runs/mine
comdefend certify --data folder:photos/ --sigma 0.12
```

<!-- not run: takes hours -->
```python
train()
```

<!-- needs: app; serves -->
```
comdefend app
```

```text
a drawing
```
"""


def test_what_takes_long_is_made_short(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    commands, code, served = blocks(page)
    assert (commands.needs, commands.skipped) == ("train", "")
    assert commands.text.splitlines() == [
        "comdefend recipe photo > mine.yaml",
        "comdefend train mine.yaml --output runs/mine --steps 2",
        "comdefend certify --data folder:photos/ --sigma 0.12 --steps 2",
    ]
    assert (code.language, code.skipped) == ("python", "takes hours")
    assert (served.needs, served.text, served.serves) == ("app", "comdefend app\n", True)
    assert not commands.serves
