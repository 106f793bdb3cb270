"""OpenVINO: fp32, bf16 (of the same graph, where the processor has it) and int8 (NNCF's static quantisation over 128
titles), with the throughput hint (a stream per thread) and with the latency hint (one stream).

    openvino_peer.py make ROW DIR fp32|int8 WORK    DIR/openvino/PRECISION.xml
"""
import os
import sys

import peer


def path(folder, precision):
    return os.path.join(folder, "openvino", f"{precision}.xml")


def make(row, folder, precision, work):
    import openvino
    os.makedirs(os.path.join(folder, "openvino"), exist_ok=True)
    if precision == "fp32":
        model = openvino.convert_model(os.path.join(folder, "onnx", "plain-fp32.onnx"))
    else:
        import nncf
        model = openvino.Core().read_model(path(folder, "fp32"))
        names = {name for i in model.inputs for name in i.names}
        titles = [{name: v for name, v in x.items() if name in names}
                  for x in peer.calibration(row, peer.read_work(work)["calibration"])]
        model = nncf.quantize(model, nncf.Dataset(titles), model_type=nncf.ModelType.TRANSFORMER,
                              preset=nncf.QuantizationPreset.MIXED, subset_size=len(titles))
    part = path(folder, precision + ".part")
    openvino.save_model(model, part, compress_to_fp16=False)
    os.replace(part.replace(".xml", ".bin"), path(folder, precision).replace(".xml", ".bin"))
    os.replace(part, path(folder, precision))


class Engine:
    def __init__(self, args):
        import openvino
        self.version = openvino.__version__.split("-")[0]
        core = openvino.Core()
        config = {"PERFORMANCE_HINT": args.setting.upper(), "INFERENCE_NUM_THREADS": args.threads}
        if args.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise peer.Missing("this processor has no bf16")
        if args.precision != "int8":  # left alone it takes bf16 where it can; what int8 leaves over may be that
            config["INFERENCE_PRECISION_HINT"] = {"fp32": "f32"}.get(args.precision, args.precision)
        if args.setting == "throughput":
            config["NUM_STREAMS"] = args.threads
        precision = "int8" if args.precision == "int8" else "fp32"
        self.model = core.compile_model(path(args.model, precision), "CPU", config)
        self.names = {name for i in self.model.inputs for name in i.names}
        self.streams = self.model.get_property("NUM_STREAMS")
        self.queue = openvino.AsyncInferQueue(self.model, self.streams)
        self.queue.set_callback(self.done)
        self.setting = f"{args.threads} threads, {args.setting} hint, {self.streams} streams"

    def done(self, request, at):
        self.out[at] = request.get_output_tensor(0).data.copy()

    def prepare(self, x):
        return {name: v for name, v in x.items() if name in self.names}

    def run(self, works):
        self.out = [None] * len(works)
        for at, x in enumerate(works):
            self.queue.start_async(x, at)
        self.queue.wait_all()
        return self.out


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    else:
        peer.serve(Engine)
