#!/usr/bin/env python3
"""Writes suites/tests/vectors/chats.json: chats as transformers writes them with the templates of
real models, as llama.cpp collects them. The tests of suites/src/chat.rs read it.

    .oracles/venv/bin/python scripts/oracles/chat_templates.py FOLDER
    .oracles/venv/bin/python scripts/oracles/chat_templates.py FOLDER --all FILE

FOLDER is models/templates of llama.cpp's source. With --all every template there goes into FILE,
and CHAT_VECTORS=FILE makes the test read that.
"""

import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

OUT = pathlib.Path(__file__).parents[2] / "suites/tests/vectors/chats.json"
# What BOS and EOS are called; None where the model has none.
KEPT = {
    "meta-llama-Llama-3.2-3B-Instruct": ("<|begin_of_text|>", "<|eot_id|>"),
    "google-gemma-2-2b-it": ("<bos>", "<eos>"),
    "mistralai-Mistral-Nemo-Instruct-2407": ("<s>", "</s>"),
    "microsoft-Phi-3.5-mini-instruct": ("<s>", "<|endoftext|>"),
    "Qwen-Qwen2.5-7B-Instruct": (None, "<|im_end|>"),
    "Qwen-Qwen3-0.6B": (None, "<|im_end|>"),
    "HuggingFaceTB-SmolLM3-3B": (None, "<|im_end|>"),
}
# SmolLM2's, which its GGUF carries.
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PYTHONIC = """{{- bos_token }}
{%- for message in messages %}
    {%- if loop.index > 2 %}{% break %}{% endif %}
    {% generation %}{{ message | tojson }}{% endgeneration %}
    {{ message.content.strip().split(' ')[-1].upper() }} {{ strftime_now('%d %b %Y') }}
{% endfor %}
{{ messages | tojson(indent=2) }}
"""


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


CHATS = [
    [user("What is the capital of France?")],
    [{"role": "system", "content": "Answer in one word."}, user("  Spaces,\nlines,\t\"quotes\", é🦙 <b>&amp;\\ ")],
    [user("Hi"), said("Hello! <think>\nhm\n</think>\n\nWhat is it? "), user("Nothing.")],
    [user("one"), user("two")],
    [said("I begin.")],
]


class Clock(chat_template_utils.datetime):
    @classmethod
    def now(cls):
        return cls(2024, 7, 26)


def render(source, bos, eos, chat, for_answer):
    names = {"bos_token": bos, "eos_token": eos}
    given = {key: value for key, value in names.items() if value is not None}
    template = chat_template_utils._compile_jinja_template(source)
    try:
        # As apply_chat_template calls it.
        text = template.render(
            messages=chat, tools=None, documents=None, add_generation_prompt=for_answer, **given
        )
        return {"text": text}
    except jinja2.exceptions.TemplateError as error:
        # The template's own words; an error of Jinja's is called otherwise elsewhere.
        own = type(error) is jinja2.exceptions.TemplateError
        return {"refused": str(error) if own else ""}
    except TypeError:
        return {"refused": ""}


def cases(name, source, bos, eos):
    chats = []
    for chat in CHATS:
        for for_answer in (True, False):
            outcome = render(source, bos, eos, chat, for_answer)
            chats.append({"messages": chat, "for_answer": for_answer, **outcome})
    return {"name": name, "source": source, "bos": bos, "eos": eos, "chats": chats}


def main():
    chat_template_utils.datetime = Clock
    folder = pathlib.Path(sys.argv[1])
    every = sys.argv[2:3] == ["--all"]
    out = pathlib.Path(sys.argv[3]) if every else OUT
    names = sorted(path.stem for path in folder.glob("*.jinja")) if every else KEPT
    templates = [cases("ChatML", CHATML, "<|im_start|>", "<|im_end|>"), cases("pythonic", PYTHONIC, "<s>", None)]
    for name in names:
        bos, eos = KEPT.get(name, ("<s>", "</s>"))
        templates.append(cases(name, (folder / f"{name}.jinja").read_text(), bos, eos))
    made_by = f"scripts/oracles/chat_templates.py, transformers {transformers.__version__}, jinja2 {jinja2.__version__}"
    rows = ",\n".join("  " + json.dumps(case, ensure_ascii=False) for case in templates)
    out.write_text(f'{{"made_by": "{made_by}", "templates": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
