package org.dgms.demo.bench;

import java.io.Closeable;
import java.io.File;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.dgms.tflite.ClaimSummary;
import org.dgms.tflite.DgmsDelegate;
import org.dgms.tflite.NodeCounter;
import org.tensorflow.lite.Interpreter;

/** One path, opened: an interpreter with its delegates and buffers. Used by one thread. */
final class PathSession implements Closeable {
  private static final double NANOS_PER_MS = 1e6;

  private final PathKind kind;
  private final int numThreads;
  private final Activations activations;
  private final double initMs;
  private final List<TensorSpec> inputSpecs = new ArrayList<TensorSpec>();
  private final List<TensorSpec> outputSpecs = new ArrayList<TensorSpec>();
  private DgmsDelegate dgms;
  private XnnpackDelegate xnnpack;
  private Interpreter interpreter;
  private Object[] inputs;
  private final Map<Integer, Object> outputs = new HashMap<Integer, Object>();
  private long startNanos;

  /**
   * Opens a file. Threads that this makes inherit the calling thread's CPU affinity.
   *
   * @param profiling whether the DGMS delegate measures its layers, which slows them a little
   * @throws IllegalArgumentException TFLite cannot open the file
   * @throws UnsupportedOperationException a delegate cannot be made here
   */
  PathSession(PathKind kind, File file, BenchmarkSettings settings, boolean profiling) {
    this.kind = kind;
    this.numThreads = settings.numThreads();
    this.activations = settings.activations();
    boolean opened = false;
    try {
      long start = System.nanoTime();
      interpreter = newInterpreter(file, profiling);
      resizeOpenDimensions();
      interpreter.allocateTensors();
      initMs = (System.nanoTime() - start) / NANOS_PER_MS;
      makeBuffers();
      opened = true;
    } finally {
      if (!opened) {
        close();
      }
    }
  }

  /**
   * Does what is done once in a process, whichever path comes first: loads libraries and classes, reads the
   * file, lets the delegates look at the processor. Without this, the first path's init would be charged for
   * all. Nothing as large as packed weights is made, since memory freed here would hide what the paths take.
   */
  static void loadAll(File file, BenchmarkSettings settings) {
    try {
      new PathSession(PathKind.BUILTIN, file, settings, false).close();
      new XnnpackDelegate(settings.numThreads()).close();
      new DgmsDelegate().close();
    } catch (RuntimeException e) {
      return; // the path that needs what is missing will say so
    }
  }

  private Interpreter newInterpreter(File file, boolean profiling) {
    // Without delegates, TFLite would apply XNNPACK by itself, with one thread whatever is asked for.
    Interpreter.Options options = new Interpreter.Options().setUseXNNPACK(false).setNumThreads(numThreads);
    if (kind == PathKind.DELEGATE) {
      DgmsDelegate.Activations mode =
          activations == Activations.DYNAMIC_INT8
              ? DgmsDelegate.Activations.DYNAMIC_INT8
              : DgmsDelegate.Activations.FLOAT32;
      dgms =
          new DgmsDelegate(
              new DgmsDelegate.Options()
                  .setNumThreads(numThreads)
                  .setActivations(mode)
                  .setProfiling(profiling));
      options.addDelegate(dgms);
    }
    if (kind.usesXnnpack()) {
      xnnpack = new XnnpackDelegate(numThreads);
      options.addDelegate(xnnpack); // after ours: TFLite offers the nodes in this order
    }
    return new Interpreter(file, options);
  }

  /** Sets open dimensions, such as the batch, to 1. */
  private void resizeOpenDimensions() {
    for (int i = 0; i < interpreter.getInputTensorCount(); i++) {
      int[] shape = interpreter.getInputTensor(i).shape();
      int[] signature = interpreter.getInputTensor(i).shapeSignature();
      boolean changed = false;
      for (int d = 0; d < signature.length; d++) {
        if (signature[d] < 0 && shape[d] != 1) {
          shape[d] = 1;
          changed = true;
        }
      }
      if (changed) {
        interpreter.resizeInput(i, shape);
      }
    }
  }

  private void makeBuffers() {
    inputs = new Object[interpreter.getInputTensorCount()];
    for (int i = 0; i < inputs.length; i++) {
      inputSpecs.add(new TensorSpec(interpreter.getInputTensor(i)));
      inputs[i] = inputSpecs.get(i).newBuffer();
    }
    for (int i = 0; i < interpreter.getOutputTensorCount(); i++) {
      outputSpecs.add(new TensorSpec(interpreter.getOutputTensor(i)));
      outputs.put(i, outputSpecs.get(i).newBuffer());
    }
  }

  PathKind kind() {
    return kind;
  }

  /** Making the delegates and the interpreter, and allocating its tensors. */
  double initMs() {
    return initMs;
  }

  List<TensorSpec> inputSpecs() {
    return inputSpecs;
  }

  List<TensorSpec> outputSpecs() {
    return outputSpecs;
  }

  ByteBuffer inputBuffer(int i) {
    return (ByteBuffer) inputs[i];
  }

  /** An output of the last run; overwritten by the next. */
  ByteBuffer outputBuffer(int i) {
    return (ByteBuffer) outputs.get(i);
  }

  /** Fills the input buffers, which stay filled for all runs until the next call. */
  void setInput(Inputs source, int input) {
    for (int i = 0; i < inputs.length; i++) {
      source.write(input, i, inputSpecs.get(i), inputBuffer(i));
    }
  }

  /**
   * Runs the model once.
   *
   * @return milliseconds, the copying of inputs and outputs between buffers and tensors included
   */
  double run() {
    // Buffer's own methods: ByteBuffer's overrides of them are not on Android before API 34.
    for (Object input : inputs) {
      ((Buffer) input).rewind();
    }
    for (Object output : outputs.values()) {
      ((Buffer) output).rewind();
    }
    startNanos = System.nanoTime();
    interpreter.runForMultipleInputsOutputs(inputs, outputs);
    return (System.nanoTime() - startNanos) / NANOS_PER_MS;
  }

  /** When the last run began, by System.nanoTime. */
  long startNanos() {
    return startNanos;
  }

  /** What the DGMS delegate took over; null for other paths. */
  DelegateClaim claim() {
    if (dgms == null) {
      return null;
    }
    ClaimSummary claim = dgms.claim();
    return new DelegateClaim(
        claim.claimedOperators(),
        claim.candidateOperators(),
        claim.claimedNodes(),
        claim.packedBytes(),
        claim.refusals());
  }

  /** The DGMS delegate's counters so far; empty without profiling. */
  List<NodeTime> counters() {
    List<NodeTime> times = new ArrayList<NodeTime>();
    if (dgms != null) {
      for (NodeCounter c : dgms.counters()) {
        times.add(
            new NodeTime(
                c.name(),
                c.kernel(),
                c.calls(),
                c.macs(),
                c.packedBytes(),
                c.totalNanos() / NANOS_PER_MS,
                c.fastestNanos() / NANOS_PER_MS));
      }
    }
    return times;
  }

  /** Who runs the path with how many threads, in words. */
  String description() {
    String threads = numThreads == 1 ? "1 thread" : numThreads + " threads";
    switch (kind) {
      case DELEGATE:
        DelegateClaim claim = claim();
        return "the DGMS delegate (" + threads + ", " + activations.id() + " activations) runs "
            + claim.operators() + " of " + claim.candidates() + " layers (" + claim.nodes()
            + " nodes of the file), XNNPACK (" + threads + ") the rest";
      case XNNPACK:
        return "XNNPACK (" + threads + "), made by the app";
      case DENSE_XNNPACK:
        return "XNNPACK (" + threads + "), made by the app, on the dense twin";
      default:
        return "TFLite's own kernels (" + threads + "), no delegate, default XNNPACK off";
    }
  }

  /** Closes the interpreter, then its delegates; a second time does nothing. */
  @Override
  public void close() {
    if (interpreter != null) {
      interpreter.close();
      interpreter = null;
    }
    if (xnnpack != null) {
      xnnpack.close();
      xnnpack = null;
    }
    if (dgms != null) {
      dgms.close();
      dgms = null;
    }
  }
}
