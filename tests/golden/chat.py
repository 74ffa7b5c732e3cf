"""Writes chat.json: what transformers makes of a user's message by chat templates in the style of published models.

    python tests/golden/chat.py
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

CHATML = """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none and tools is defined %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant') }}
{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""

NAMESPACE = """{%- set ns = namespace(last='', count=0) %}
{%- macro quoted(text) -%}
    {{ text | tojson }}
{%- endmacro %}
{%- for message in messages %}
  {%- set ns.count = ns.count + 1 %}
  {%- set ns.last = message.content.split('\\n')[-1] %}
  {%- for key, value in message.items() %}{{ key ~ '=' ~ quoted(value) ~ (', ' if not loop.last else '') }}{% endfor %}
{%- endfor %}
{{ '<' ~ ns.count ~ ':' ~ ns.last.upper() ~ '>' }}
{%- if messages | length > 0 and messages[-1].content.startswith('Hello') %} {{ 'greets'.replace('g', 'G') }}{% endif %}
{{ {'a': [1, true, none], 'b': 'x<y'} | tojson }}
{{- messages | tojson(indent=2) }}
{%- if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}
"""

TEXTS = ["Hello,\nworld <|im_end|> & \"you\"", "  two spaces, \u4f60\u597d  "]


def main():
    cases = []
    for template in (CHATML, LLAMA, MISTRAL, NAMESPACE):
        for text in TEXTS:
            rendered, _ = render_jinja_template(
                [[{"role": "user", "content": text}]],
                chat_template=template,
                add_generation_prompt=True,
                bos_token="<s>",
                eos_token="</s>",
            )
            cases.append({"template": template, "text": text, "rendered": rendered[0]})
    path = Path(__file__).parent / "chat.json"
    path.write_text(json.dumps(cases, indent=1) + "\n")


main()
