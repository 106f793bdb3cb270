"""The HTTP port while the first model is still on its way from a registry that is slow, or does not answer."""

import os
import time

from process import Failure, wait_for
from proxy import Proxy
from redis import Redis
from test_http import ask
from test_swap import POLL, Registry, variant, version_of
from test_wire import TITLES, same


def _through_a_proxy(env, test, edit=None):
    """test(worker options, version, proxy), production being a version in Redis behind the proxy."""
    server = Redis(os.path.join(env.folder, "redis"))
    proxy = Proxy(server.port)
    try:
        r = Registry(env, server.url)
        version = r.push(variant(env, "model", edit))
        r.promote(version)
        url = f"redis://127.0.0.1:{proxy.port}/0"
        return test(dict(model=None, registry=url, cache=os.path.join(env.folder, "cache"), **POLL), version, proxy)
    finally:
        proxy.close()
        server.stop()


def _no_model_yet(worker):
    """What every route says meanwhile; returns the reason."""
    status, why = worker.get("/readyz")
    same("/readyz without a model", (status, "loading model" in why), (503, True))
    same("/livez without a model", worker.get("/livez"), (200, "ok\n"))
    same("/metrics without a model", [s for s in worker.metrics() if s.startswith("rubric_model_info")], [])
    same("rubric_ready without a model", worker.metric("^rubric_ready"), 0)
    status, said = ask(worker, {"title": TITLES[0]})
    same("/v1/classify without a model", (status, "loading model" in said.get("error", "")), (503, True))
    return why


def _eight_megabytes(path):
    """They travel with the version: four chunks more."""
    with open(os.path.join(path, "report.bin"), "wb") as f:
        f.write(os.urandom(8 << 20))


def test_port_answers_while_the_model_comes_slowly(env):
    def test(options, version, proxy):
        proxy.release(bytes_per_s=2 << 20)
        worker = env.worker(env.topics(1), **options)
        begun, said = time.monotonic(), []
        wait_for("the port to be open", lambda: worker.get("/livez")[0], 3)
        while worker.get("/readyz")[0] != 200 and time.monotonic() < begun + 60:
            if version in worker.get("/readyz")[1]:
                try:
                    said.append(_no_model_yet(worker))
                except Failure:  # unless it came in between
                    if version in worker.get("/readyz")[1]:
                        raise
            time.sleep(0.3)
        worker.wait_ready()
        same("version in service", version_of(worker), version)
        same("an answer", ask(worker, {"title": TITLES[0]})[0], 200)
        if len(set(said)) < 3:
            raise Failure(f"/readyz shows no progress: {said}")
        worker.stop()
        return f"{time.monotonic() - begun:.0f} s of loading; /readyz said {said[len(said) // 2].strip()!r}"
    return _through_a_proxy(env, test, _eight_megabytes)


def test_registry_that_holds_its_answers_is_waited_for(env):
    def test(options, version, proxy):
        proxy.hold()
        worker = env.worker(env.topics(1), **options)
        wait_for("the port to be open", lambda: worker.get("/livez")[0], 3)
        _no_model_yet(worker)
        wait_for("/readyz to say why", lambda: "no answer in time" in worker.get("/readyz")[1], 30)
        _no_model_yet(worker)
        proxy.release()
        worker.wait_ready()
        same("version in service", version_of(worker), version)
        worker.stop()
    return _through_a_proxy(env, test)


def test_a_stop_while_the_model_is_on_its_way(env):
    def test(options, version, proxy):
        proxy.hold()
        worker = env.worker(env.topics(1), **options)
        wait_for("the port to be open", lambda: worker.get("/livez")[0], 3)
        _no_model_yet(worker)
        took = worker.stop()
        if took > 3:
            raise Failure(f"a stop took {took:.1f} s")
    return _through_a_proxy(env, test)
