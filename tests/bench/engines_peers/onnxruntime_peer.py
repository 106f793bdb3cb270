"""ONNX Runtime: fp32 and int8 (dynamic, per channel), as exported ("plain") and after its transformer optimiser; each
with all threads on one work, and ("plain-streams", "optimised-streams") with works side by side on one thread each.

    onnxruntime_peer.py make ROW DIR plain|optimised fp32|int8    DIR/onnx/SETTING-PRECISION.onnx
"""
import os
import sys

import peer


def path(folder, setting, precision):
    return os.path.join(folder, "onnx", f"{setting}-{precision}.onnx")


def export(row, folder, to):
    import torch
    import pytorch_peer
    model = pytorch_peer.load(folder)
    x = {name: torch.from_numpy(v) for name, v in peer.arrays(row, [[7, 8, 9, 10, 11], [7, 8, 9]], 6).items()}

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits
    names = list(x)
    torch.onnx.export(Logits().eval(), tuple(x.values()), to, input_names=names, output_names=["logits"],
                      dynamic_axes={name: {0: "batch", 1: "width"} for name in names} | {"logits": {0: "batch"}},
                      opset_version=17, dynamo=False)


def optimise(plain, to):
    from onnxruntime.transformers import optimizer
    model = optimizer.optimize_model(plain, model_type="bert", num_heads=12, hidden_size=768)
    model.save_model_to_file(to)


def quantise(full, to):
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    quantize_dynamic(full, to, per_channel=True, weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})


def make(row, folder, setting, precision):
    os.makedirs(os.path.join(folder, "onnx"), exist_ok=True)
    to = path(folder, setting, precision)
    part = to.replace(".onnx", ".part.onnx")
    if precision == "int8":
        quantise(path(folder, setting, "fp32"), part)
    elif setting == "optimised":
        optimise(path(folder, "plain", "fp32"), part)
    else:
        export(row, folder, part)
    os.replace(part, to)


class Engine:
    def __init__(self, args):
        import onnxruntime
        self.version = onnxruntime.__version__
        o = onnxruntime.SessionOptions()
        graph, _, streams = args.setting.partition("-")
        self.streams = args.threads if streams else 1
        o.intra_op_num_threads = args.threads // self.streams
        o.inter_op_num_threads = 1
        o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(path(args.model, graph, args.precision), o,
                                                    providers=["CPUExecutionProvider"])
        self.names = {i.name for i in self.session.get_inputs()}
        self.callers = peer.Callers(self.streams)
        self.setting = f"{self.streams} x {o.intra_op_num_threads} threads, {graph} graph"

    def prepare(self, x):
        return {name: v for name, v in x.items() if name in self.names}

    def one(self, x):
        return self.session.run(["logits"], x)[0]

    def run(self, works):
        return self.callers.map(self.one, works)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    else:
        peer.serve(Engine)
