"""The official Python clients against ollm's APIs: `clients.py openai|anthropic|ollama|pydantic_ai`.

OLLM_URL and OLLM_TOKEN say where; behind it is the scripted engine of test/server/doors/python.test.ts. Prints
{"check": ..., "error": ...} for each check, without an error if it holds, and exits with 0.
"""

import asyncio
import base64
import json
import os
import sys
import traceback

URL = os.environ["OLLM_URL"]
TOKEN = os.environ["OLLM_TOKEN"]
MODEL = "able:1b"
PARALLEL = 64
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}

checks = []


def check(function):
    checks.append(function)
    return function


def user(text):
    return [{"role": "user", "content": text}]


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def fails(kind, work, *parts):
    try:
        work()
    except kind as error:
        for part in parts:
            assert part in str(error), f"{part!r} is not in {error}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def of_openai():
    import openai

    client = openai.OpenAI(base_url=f"{URL}/v1", api_key=TOKEN, max_retries=0)
    create = client.chat.completions.create
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}

    @check
    def chat():
        reply = create(model=MODEL, messages=user("hello"), temperature=0.5, seed=3, stop=["END"], max_tokens=50)
        equal(reply.choices[0].message.content, "answer to hello")
        equal(reply.choices[0].finish_reason, "stop")
        equal((reply.usage.prompt_tokens, reply.usage.completion_tokens), (40, 6))
        equal(reply.usage.prompt_tokens_details.cached_tokens, 32)

    @check
    def stream_with_usage():
        stream = create(model=MODEL, messages=user("hello"), stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        equal(text, "answer to hello")
        equal(chunks[-1].usage.completion_tokens, 6)

    @check
    def tools():
        first = create(model=MODEL, messages=user("weather"), tools=[tool], tool_choice="auto")
        [call] = first.choices[0].message.tool_calls
        equal(json.loads(call.function.arguments), {"city": "Paris"})
        equal(first.choices[0].finish_reason, "tool_calls")
        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        after = create(model=MODEL, messages=[*user("weather"), first.choices[0].message, result], tools=[tool])
        equal(after.choices[0].message.content, "tool said sunny")

    @check
    def tools_in_a_stream():
        with client.chat.completions.stream(model=MODEL, messages=user("weather"), tools=[tool]) as stream:
            final = stream.get_final_completion()
        equal(final.choices[0].message.tool_calls[0].function.name, "get_weather")

    @check
    def a_schema_as_a_class():
        import pydantic

        class Place(pydantic.BaseModel):
            city: str

        reply = client.chat.completions.parse(model=MODEL, messages=user("place"), response_format=Place)
        equal(reply.choices[0].message.parsed, Place(city="Paris"))

    @check
    def images():
        parts = [
            {"type": "text", "text": "what is it"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ]
        equal(create(model=MODEL, messages=user(parts)).choices[0].message.content, "answer to what is it with 1 image")

    @check
    def responses():
        reply = client.responses.create(model=MODEL, input="hello")
        equal(reply.output_text, "answer to hello")
        with client.responses.stream(model=MODEL, input="hello") as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        equal(text, "answer to hello")
        function = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}
        [call] = client.responses.create(model=MODEL, input="weather", tools=[function]).output
        equal((call.type, json.loads(call.arguments)), ("function_call", {"city": "Paris"}))
        fails(openai.BadRequestError, lambda: client.responses.create(model=MODEL, input="x", previous_response_id="r1"))

    @check
    def embeddings():
        reply = client.embeddings.create(model="vectors", input=["a", "bb"])
        equal([item.index for item in reply.data], [0, 1])
        equal(len(reply.data[0].embedding), 3)

    @check
    def models():
        names = [model.id for model in client.models.list()]
        assert MODEL in names and "ollm/auto" in names, names
        equal(client.models.retrieve(MODEL).id, MODEL)

    @check
    def headers():
        reply = client.chat.completions.with_raw_response.create(model="ollm/auto", messages=user("hello"))
        equal(reply.headers["ollm-model"], MODEL)

    @check
    def errors():
        fails(openai.NotFoundError, lambda: create(model="nope", messages=user("x")), "nope")
        error = fails(openai.BadRequestError, lambda: create(model=MODEL, messages=user("too long")), "4096")
        equal(error.code, "context_length_exceeded")
        full = fails(openai.RateLimitError, lambda: create(model=MODEL, messages=user("full")))
        assert int(full.response.headers["retry-after"]) > 0
        wrong = openai.OpenAI(base_url=f"{URL}/v1", api_key="wrong", max_retries=0)
        fails(openai.AuthenticationError, lambda: wrong.models.list())

    @check
    def cancel():
        stream = create(model=MODEL, messages=user("endless"), stream=True)
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        stream.close()

    @check
    def parallel_streams():
        async def one(each, at):
            stream = await each.chat.completions.create(model=MODEL, messages=user(f"q{at}"), stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        async def all_of_them():
            async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=TOKEN, max_retries=0) as each:
                return await asyncio.gather(*(one(each, at) for at in range(PARALLEL)))

        equal(asyncio.run(all_of_them()), [f"answer to q{at}" for at in range(PARALLEL)])


def of_anthropic():
    import anthropic

    client = anthropic.Anthropic(base_url=URL, api_key=TOKEN, max_retries=0)
    tool = {"name": "get_weather", "input_schema": CITY}

    def create(content, **more):
        return client.messages.create(model=MODEL, max_tokens=2048, messages=user(content), **more)

    @check
    def message():
        reply = create("hello", stop_sequences=["END"], system="Be brief.", extra_body={"temperature": 0.5})
        equal([block.text for block in reply.content], ["answer to hello"])
        equal((reply.stop_reason, reply.usage.output_tokens), ("end_turn", 6))
        equal((reply.usage.input_tokens, reply.usage.cache_read_input_tokens), (8, 32))

    @check
    def stream():
        with client.messages.stream(model=MODEL, max_tokens=100, messages=user("hello")) as events:
            equal("".join(events.text_stream), "answer to hello")
            equal(events.get_final_message().usage.output_tokens, 6)

    @check
    def tools():
        first = create("weather", tools=[tool])
        call = first.content[-1]
        equal((call.type, call.name, call.input, first.stop_reason), ("tool_use", "get_weather", {"city": "Paris"}, "tool_use"))
        result = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]
        after = client.messages.create(
            model=MODEL,
            max_tokens=100,
            tools=[tool],
            messages=[*user("weather"), {"role": "assistant", "content": first.content}, *user(result)],
        )
        equal(after.content[-1].text, "tool said sunny")

    @check
    def tools_in_a_stream():
        with client.messages.stream(model=MODEL, max_tokens=100, messages=user("weather"), tools=[tool]) as events:
            equal(events.get_final_message().content[-1].input, {"city": "Paris"})

    @check
    def thinking():
        reply = create("wonder", thinking={"type": "enabled", "budget_tokens": 1024})
        equal([(block.type, getattr(block, block.type)) for block in reply.content], [("thinking", "I wonder"), ("text", "answer to wonder")])

    @check
    def images():
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        reply = create([{"type": "text", "text": "what is it"}, {"type": "image", "source": source}])
        equal(reply.content[-1].text, "answer to what is it with 1 image")

    @check
    def count_tokens():
        counted = client.messages.count_tokens(model=MODEL, messages=user("hello there"))
        assert counted.input_tokens > 0

    @check
    def errors():
        missing = lambda: client.messages.create(model="nope", max_tokens=9, messages=user("x"))
        fails(anthropic.NotFoundError, missing, "nope")
        fails(anthropic.BadRequestError, lambda: create("too long"), "4096")
        fails(anthropic.RateLimitError, lambda: create("full"))
        wrong = anthropic.Anthropic(base_url=URL, api_key="wrong", max_retries=0)
        fails(anthropic.AuthenticationError, lambda: wrong.messages.count_tokens(model=MODEL, messages=user("x")))

    @check
    def cancel():
        with client.messages.stream(model=MODEL, max_tokens=100, messages=user("endless")) as events:
            next(iter(events.text_stream))

    @check
    def parallel_streams():
        async def one(each, at):
            async with each.messages.stream(model=MODEL, max_tokens=100, messages=user(f"q{at}")) as events:
                return "".join([text async for text in events.text_stream])

        async def all_of_them():
            async with anthropic.AsyncAnthropic(base_url=URL, api_key=TOKEN, max_retries=0) as each:
                return await asyncio.gather(*(one(each, at) for at in range(PARALLEL)))

        equal(asyncio.run(all_of_them()), [f"answer to q{at}" for at in range(PARALLEL)])


def of_ollama():
    import ollama

    headers = {"Authorization": f"Bearer {TOKEN}"}
    client = ollama.Client(host=URL, headers=headers)

    @check
    def chat():
        reply = client.chat(model=MODEL, messages=user("hello"), options={"temperature": 0.5, "num_ctx": 8192})
        equal((reply.message.content, reply.done_reason, reply.eval_count), ("answer to hello", "stop", 6))

    @check
    def stream():
        parts = list(client.chat(model=MODEL, messages=user("hello"), stream=True))
        equal("".join(part.message.content for part in parts), "answer to hello")
        equal((parts[-1].done, parts[-1].prompt_eval_count), (True, 40))

    @check
    def tools_from_a_function():
        def get_weather(city: str) -> str:
            """Weather of a city.

            Args:
              city: Its name
            """
            return "sunny"

        first = client.chat(model=MODEL, messages=user("weather"), tools=[get_weather])
        [call] = first.message.tool_calls
        equal((call.function.name, call.function.arguments), ("get_weather", {"city": "Paris"}))
        result = {"role": "tool", "tool_name": "get_weather", "content": get_weather(**call.function.arguments)}
        after = client.chat(model=MODEL, messages=[*user("weather"), first.message, result], tools=[get_weather])
        equal(after.message.content, "tool said sunny")

    @check
    def a_schema():
        equal(json.loads(client.chat(model=MODEL, messages=user("place"), format=CITY).message.content), {"city": "Paris"})

    @check
    def thinking():
        reply = client.chat(model=MODEL, messages=user("wonder"), think="low")
        equal((reply.message.thinking, reply.message.content), ("I wonder", "answer to wonder"))

    @check
    def generate():
        reply = client.generate(model=MODEL, prompt="what is it", images=[base64.b64decode(PIXEL)])
        equal(reply.response, "answer to what is it with 1 image")
        parts = list(client.generate(model=MODEL, prompt="hello", stream=True))
        equal("".join(part.response for part in parts), "answer to hello")

    @check
    def load_and_unload():
        equal(client.generate(model=MODEL, keep_alive="5m").done_reason, "load")
        assert MODEL in [model.model for model in client.ps().models]
        equal(client.generate(model=MODEL, keep_alive=0).done_reason, "unload")
        assert MODEL not in [model.model for model in client.ps().models]

    @check
    def embed():
        equal(len(client.embed(model="vectors", input=["a", "bb"]).embeddings), 2)
        equal(len(client.embeddings(model="vectors", prompt="a").embedding), 3)

    @check
    def models():
        names = [model.model for model in client.list().models]
        assert MODEL in names and "ollm/auto" in names, names
        assert "tools" in client.show(MODEL).capabilities

    @check
    def pull():
        equal([part.status for part in client.pull("new:1b", stream=True)][-1], "success")
        equal(client.pull("other:1b").status, "success")

    @check
    def errors():
        missing = fails(ollama.ResponseError, lambda: client.chat(model="nope", messages=user("x")), "not found")
        equal(missing.status_code, 404)
        equal(fails(ollama.ResponseError, lambda: client.chat(model=MODEL, messages=user("too long")), "4096").status_code, 400)
        equal(fails(ollama.ResponseError, lambda: client.chat(model=MODEL, messages=user("full"))).status_code, 429)
        equal(fails(ollama.ResponseError, lambda: ollama.Client(host=URL).list()).status_code, 401)

    @check
    def cancel():
        stream = client.chat(model=MODEL, messages=user("endless"), stream=True)
        next(stream)
        stream.close()

    @check
    def parallel_streams():
        async def one(each, at):
            stream = await each.chat(model=MODEL, messages=user(f"q{at}"), stream=True)
            return "".join([part.message.content async for part in stream])

        async def all_of_them():
            each = ollama.AsyncClient(host=URL, headers=headers)
            return await asyncio.gather(*(one(each, at) for at in range(PARALLEL)))

        equal(asyncio.run(all_of_them()), [f"answer to q{at}" for at in range(PARALLEL)])


def of_pydantic_ai():
    """The example of docs/python.md."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{URL}/v1", api_key=TOKEN)
    agent = Agent(OpenAIChatModel("ollm/auto", provider=provider), system_prompt="Answer in one sentence.")

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"It is sunny in {city}."

    @check
    def an_agent_with_a_tool():
        equal(agent.run_sync("What is the weather in Paris?").output, "tool said It is sunny in Paris.")


@check
def a_broken_connection():
    """The program dies in the middle of an answer."""
    import socket
    from urllib.parse import urlsplit

    path, more = {
        "openai": ("/v1/chat/completions", {}),
        "pydantic_ai": ("/v1/chat/completions", {}),
        "anthropic": ("/v1/messages", {"max_tokens": 100}),
        "ollama": ("/api/chat", {}),
    }[sys.argv[1]]
    body = json.dumps({"model": MODEL, "stream": True, "messages": user("endless"), **more})
    host = urlsplit(URL)
    with socket.create_connection((host.hostname, host.port), timeout=20) as connection:
        head = [f"POST {path} HTTP/1.1", f"Host: {host.netloc}", f"Authorization: Bearer {TOKEN}"]
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        connection.sendall("\r\n".join([*head, "", body]).encode())
        seen = b""
        while b"and" not in seen:
            received = connection.recv(4096)
            assert received, seen
            seen += received


clients = {"openai": of_openai, "anthropic": of_anthropic, "ollama": of_ollama, "pydantic_ai": of_pydantic_ai}
clients[sys.argv[1]]()
for each in checks:
    line = {"check": each.__name__}
    try:
        each()
    except Exception as error:
        line["error"] = "".join(traceback.format_exception_only(error)).strip()
    print(json.dumps(line), flush=True)
