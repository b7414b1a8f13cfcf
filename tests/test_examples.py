"""The examples run, and give each error its status."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from fastapi.testclient import TestClient

import ortolan
from examples import consumer, fastapi_service, wsgi_service
from tests.engine.damage import GOLDEN

BATCHING = ortolan.BatchingConfig(calibration_ms=0)
PATIENT = ortolan.BatchingConfig(calibration_ms=0, max_wait_ms=600_000, max_batch_size=64)
"""A text waits for so much company that what is done to it meanwhile can be seen."""

TEXTS = [f"the film number {number} is good" for number in range(40)]

REFUSALS = [
    pytest.param(ortolan.QueueFullError("a", "b", "c", retry_after_ms=1200.0), 429, id="full"),
    pytest.param(ortolan.DeadlineError("a", "b", "c", deadline_ms=5.0), 504, id="late"),
    pytest.param(ortolan.ClosedError("a", "b", "c"), 503, id="closed"),
    pytest.param(ortolan.SessionError("a", "b", "c"), 500, id="broken"),
]


def pipe() -> ortolan.Pipeline:
    return ortolan.pipeline("text-classification", GOLDEN, precision="fp32")


def labels(texts: list[str]) -> list[str]:
    return [answer["label"] for answer in pipe()(texts)]


class FailingEngine:
    """An engine that refuses everything."""

    def __init__(self, error: ortolan.OrtolanError) -> None:
        self._error = error

    async def submit(self, inputs: object, **options: object) -> object:
        raise self._error

    def submit_nowait(self, inputs: object, **options: object) -> Future[Any]:
        raise self._error


class TestFastapi:
    @pytest.fixture
    def client(self) -> Iterator[TestClient]:
        with TestClient(fastapi_service.create_app(str(GOLDEN)), raise_server_exceptions=False) as client:
            yield client

    def test_texts_are_answered_in_their_order(self, client: TestClient) -> None:
        response = client.post("/classify", json={"texts": TEXTS})
        assert response.status_code == 200
        assert [answer["label"] for answer in response.json()] == labels(TEXTS)

    @pytest.mark.parametrize("headers", [{}, {"X-Deadline-Ms": "60000"}], ids=["at leisure", "with a deadline"])
    def test_no_texts_have_no_answers(self, client: TestClient, headers: dict[str, str]) -> None:
        response = client.post("/classify", json={"texts": []}, headers=headers)
        assert (response.status_code, response.json()) == (200, [])
        assert client.app.state.engine.drain(60)  # type: ignore[attr-defined]

    def test_one_text_may_stand_alone_and_bring_a_deadline(self, client: TestClient) -> None:
        response = client.post("/classify", json={"texts": TEXTS[0]}, headers={"X-Deadline-Ms": "60000"})
        assert response.json()[0]["label"] == labels(TEXTS[:1])[0]

    @pytest.mark.parametrize(
        ("texts", "headers", "status"),
        [
            pytest.param([""], {}, 400, id="empty"),
            pytest.param(["word " * 1000], {}, 413, id="too long"),
            pytest.param(["good"] * 65, {}, 422, id="too many"),
            pytest.param(["good"], {"X-Deadline-Ms": "soon"}, 422, id="no deadline"),
            pytest.param(["good"], {"X-Deadline-Ms": "-1"}, 422, id="deadline before"),
            pytest.param(["good"], {"X-Deadline-Ms": "0.00001"}, 504, id="late"),
        ],
    )
    def test_a_request_that_has_no_answer_gets_a_status(
        self, client: TestClient, texts: list[str], headers: dict[str, str], status: int
    ) -> None:
        assert client.post("/classify", json={"texts": texts}, headers=headers).status_code == status

    @pytest.mark.parametrize(("error", "status"), REFUSALS)
    def test_each_error_has_a_status(self, client: TestClient, error: ortolan.OrtolanError, status: int) -> None:
        client.app.state.engine = FailingEngine(error)  # type: ignore[attr-defined]
        response = client.post("/classify", json={"texts": "good"})
        assert (response.status_code, response.json()["error"]) == (status, type(error).__name__)
        assert response.headers.get("Retry-After") == ("2" if status == 429 else None)
        assert (response.json()["detail"] == "internal error") == (status == 500)

    def test_after_the_lifespan_the_engine_is_closed(self) -> None:
        app = fastapi_service.create_app(str(GOLDEN))
        with TestClient(app) as client:
            client.post("/classify", json={"texts": "good"})
        assert app.state.engine.counters["default"].answered == 1
        with pytest.raises(ortolan.ClosedError):
            app.state.engine.submit_nowait("good")

    def test_a_client_that_goes_away_cancels_its_request(self) -> None:
        body = json.dumps({"texts": "good"}).encode()

        async def ask(engine: ortolan.Engine) -> None:
            app = fastapi_service.create_app()
            app.state.engine = engine
            messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

            async def receive() -> dict[str, Any]:
                while len(messages) == 1 and not engine.num_waiting["default"]:
                    await asyncio.sleep(0)  # it goes while its request waits
                return messages.pop(0)

            async def send(message: object) -> None:
                pass

            headers = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/classify", "headers": headers, "query_string": b""}
            await app(scope, receive, send)
            await asyncio.sleep(0)

        with ortolan.Engine(pipe(), batching=PATIENT) as engine:
            asyncio.run(asyncio.wait_for(ask(engine), 60))
            counters = engine.counters["default"]
        assert (counters.submitted, counters.cancelled, counters.batches) == (1, 1, 0)


class Waiter(wsgi_service.Application):
    """The app with an engine from elsewhere."""

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self._other = engine

    def engine(self) -> ortolan.Engine:
        return self._other


def post(app: wsgi_service.Application, body: object, deadline: str | None = None) -> tuple[int, Any, dict[str, str]]:
    """What a WSGI server does, checked by the standard library's validator."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/classify", "SCRIPT_NAME": ""}
    environ |= {"QUERY_STRING": "", "CONTENT_LENGTH": str(len(content)), "wsgi.input": io.BytesIO(content)}
    environ |= {} if deadline is None else {"HTTP_X_DEADLINE_MS": deadline}
    setup_testing_defaults(environ)
    said: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        said.extend([int(status.split()[0]), dict(headers)])

    answer = validator(app)(environ, start_response)
    try:
        return said[0], json.loads(b"".join(answer)), said[1]
    finally:
        answer.close()  # type: ignore[attr-defined]


class TestWsgi:
    def test_many_threads_share_one_engine(self) -> None:
        app = wsgi_service.Application(str(GOLDEN))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda text: post(app, {"texts": [text]}), TEXTS))
        assert [status for status, *_ in answers] == [200] * len(TEXTS)
        assert [answer[0]["label"] for _, answer, _ in answers] == labels(TEXTS)
        assert app.engine().counters["default"].answered == len(TEXTS)
        app.engine().close()
        assert post(app, {"texts": ["good"]})[0] == 503

    @pytest.mark.parametrize(
        ("body", "deadline", "status"),
        [
            pytest.param({"texts": [""]}, None, 400, id="empty"),
            pytest.param({"texts": ["word " * 1000]}, None, 413, id="too long"),
            pytest.param({"text": "good"}, None, 400, id="no texts"),
            pytest.param(b"good", None, 400, id="no JSON"),
            pytest.param(b"[" * 100_000, None, 400, id="too deep"),
            pytest.param(b"", None, 400, id="no body"),
            pytest.param(b" " * 1_000_001, None, 400, id="too large"),
            pytest.param({"texts": ["good"]}, "soon", 400, id="no deadline"),
            pytest.param({"texts": ["good"]}, "nan", 400, id="no number"),
            pytest.param({"texts": ["good"]}, "0.00001", 504, id="late"),
        ],
    )
    def test_a_request_that_has_no_answer_gets_a_status(self, body: object, deadline: str | None, status: int) -> None:
        with ortolan.Engine(pipe(), batching=BATCHING) as engine:
            assert post(Waiter(engine), body, deadline)[0] == status

    @pytest.mark.parametrize(("error", "status"), REFUSALS)
    def test_each_error_has_a_status(self, error: ortolan.OrtolanError, status: int) -> None:
        found, answer, headers = post(Waiter(FailingEngine(error)), {"texts": ["good"]})
        assert (found, answer["error"]) == (status, type(error).__name__)
        assert headers.get("Retry-After") == ("2" if status == 429 else None)
        assert (answer["detail"] == "internal error") == (status == 500)

    def test_a_thread_that_waits_no_longer_drops_its_request(self) -> None:
        class Deaf:
            """An engine that never answers."""

            def __init__(self) -> None:
                self.future: Future[Any] = Future()

            def submit_nowait(self, inputs: object, **options: object) -> Future[Any]:
                return self.future

        engine = Deaf()
        assert post(Waiter(engine), {"texts": ["good"]}, "1")[0] == 504
        assert engine.future.cancelled()

    def test_the_engine_is_made_once_when_the_first_request_comes(self) -> None:
        app = wsgi_service.Application(str(GOLDEN))
        before = threading.active_count()  # nothing that a fork would lose
        with ThreadPoolExecutor(4) as pool:
            engines = set(pool.map(lambda _: app.engine(), range(4)))
        assert len(engines) == 1
        engines.pop().close()
        assert threading.active_count() == before


class Log:
    """Where answers and offsets go."""

    def __init__(self) -> None:
        self.published: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        self.committed: dict[int, int] = {}

    def publish(self, message: consumer.Message, result: Any) -> None:
        self.published[message.partition].append((message.offset, result))

    def commit(self, partition: int, offset: int) -> None:
        assert offset == self.committed.get(partition, 0) + 1
        assert len(self.published[partition]) == offset
        self.committed[partition] = offset


def consume(engine: Any, texts: list[str], log: Log) -> None:
    """Let the consumer answer texts that come from three partitions in turn."""

    async def run() -> None:
        messages: asyncio.Queue[consumer.Message | None] = asyncio.Queue()
        for number, text in enumerate(texts):
            messages.put_nowait(consumer.Message(number % 3, number // 3, text))
        messages.put_nowait(None)
        await asyncio.wait_for(consumer.consume(engine, messages, log.publish, log.commit), 60)

    asyncio.run(run())


class TestConsumer:
    def test_answers_come_in_the_order_of_their_partition(self) -> None:
        log = Log()
        texts = [f"good {'long ' * (number % 7)}{number}" for number in range(200)]
        with ortolan.Engine(pipe(), batching=BATCHING) as engine:
            consume(engine, texts, log)
        assert log.committed == {0: 67, 1: 67, 2: 66}
        for partition, answers in log.published.items():
            assert [offset for offset, _ in answers] == list(range(len(answers)))
            assert [result[0]["label"] for _, result in answers] == labels(texts[partition::3])

    def test_a_text_that_has_no_answer_is_a_dead_letter(self) -> None:
        log = Log()
        with ortolan.Engine(pipe(), batching=BATCHING) as engine:
            consume(engine, ["good", "", "bad"], log)
        assert "error" in log.published[1][0][1]
        assert log.committed == {0: 1, 1: 1, 2: 1}

    def test_a_full_line_is_asked_again(self) -> None:
        log = Log()
        with ortolan.Engine(pipe(), batching=ortolan.BatchingConfig(calibration_ms=0, max_queue=1)) as engine:
            consume(engine, TEXTS, log)
            assert engine.counters["default"].refused["QueueFullError"] > 0
        assert sum(log.committed.values()) == len(TEXTS)

    def test_so_many_are_in_flight_at_once(self) -> None:
        class Counting(FailingEngine):
            now = most = 0

            async def submit(self, inputs: object, **options: object) -> object:
                self.now += 1
                self.most = max(self.most, self.now)
                await asyncio.sleep(0)
                self.now -= 1
                return inputs

        engine = Counting(ortolan.ClosedError("a", "b", "c"))
        consume(engine, TEXTS * 5, Log())
        assert engine.most == consumer.MAX_IN_FLIGHT

    def test_nothing_after_a_failure_is_committed_in_its_partition(self) -> None:
        class Breaking(FailingEngine):
            async def submit(self, inputs: object, **options: object) -> object:
                return await super().submit(inputs) if inputs == "break" else inputs

        log = Log()
        with pytest.raises(ortolan.SessionError):
            consume(Breaking(ortolan.SessionError("a", "b", "c")), ["a", "b", "c", "break", "e", "f", "g", "h"], log)
        assert log.committed[0] == 1
        assert [result for _, result in log.published[0]] == ["a"]
