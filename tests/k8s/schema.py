"""Kubernetes' own JSON schemas, strict (unknown fields are refused), out of the wheel that tests/k8s/fetch brings."""

import functools
import glob
import json
import os
import warnings
import zipfile

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from jsonschema import Draft202012Validator, RefResolver

VERSIONS = ("1.29", "1.37")  # the oldest that the manifests are made for, and the newest that the wheel has


class Schemas:
    def __init__(self, directory):
        found = glob.glob(os.path.join(directory, "kubernetes_validate-*.whl"))
        if len(found) != 1:
            raise FileNotFoundError(f"one kubernetes_validate wheel expected in {directory}, found {len(found)}")
        self.wheel = zipfile.ZipFile(found[0])

    @functools.lru_cache(maxsize=None)
    def read(self, version, name):
        path = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict/{name}.json"
        return json.loads(self.wheel.read(path)) if path in self.wheel.namelist() else None

    @functools.lru_cache(maxsize=None)
    def validator(self, version, kind, api):
        schema = self.read(version, f"{kind.lower()}-{short(api)}")
        if schema is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shared = self.read(version, "_definitions")
            resolver = RefResolver.from_schema(schema, store={shared["$id"]: shared}, handlers={"https": refuse})
            return Draft202012Validator(schema, resolver=resolver)

    def check(self, doc):
        """What is wrong with one document, in any of VERSIONS."""
        return self.check_text(json.dumps(doc, default=str))

    @functools.lru_cache(maxsize=None)  # a planted mistake leaves most documents as they were
    def check_text(self, text):
        doc, wrong = json.loads(text), []
        for version in VERSIONS:
            v = self.validator(version, str(doc.get("kind")), str(doc.get("apiVersion")))
            if v is None:
                wrong.append(f"Kubernetes {version} has no {doc.get('kind')} in {doc.get('apiVersion')}")
                continue
            for e in v.iter_errors(doc):
                wrong.append(f"Kubernetes {version}: {'.'.join(map(str, e.absolute_path))}: {e.message[:200]}")
        return wrong


def short(api):
    """apps/v1 -> apps-v1, rbac.authorization.k8s.io/v1 -> rbac-v1, v1 -> v1"""
    group, _, version = api.rpartition("/")
    return f"{group.split('.')[0]}-{version}" if group else version


def refuse(url):
    raise LookupError(f"{url} is not in the wheel")
