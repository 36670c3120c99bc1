package org.dgms.demo.bench;

import java.io.Closeable;
import java.io.File;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * The paths of one benchmark, taken through its phases in this order: open, compare, warmUp, time, profile.
 */
final class PathGroup implements Closeable {
  /** Runs behind the delegate's counters. */
  private static final int PROFILED_RUNS = 10;

  private final ModelSpec model;
  private final BenchmarkSettings settings;
  private final List<PathRun> paths = new ArrayList<PathRun>();
  private final Cancellation cancellation;
  private final BenchmarkRunner.Listener listener;
  private final RunLog log;
  private Inputs inputs;
  private PathSession ownReference; // null where the builtin path is among the chosen ones

  PathGroup(
      ModelSpec model,
      BenchmarkSettings settings,
      List<PathKind> kinds,
      Cancellation cancellation,
      BenchmarkRunner.Listener listener,
      RunLog log) {
    this.model = model;
    this.settings = settings;
    this.cancellation = cancellation;
    this.listener = listener;
    this.log = log;
    for (PathKind kind : kinds) {
      paths.add(new PathRun(kind));
    }
  }

  /**
   * Opens every path and runs it once.
   *
   * @throws BenchmarkException the file is no model, or its inputs cannot be filled
   */
  void open() throws BenchmarkException {
    listener.onPhase("Loading the runtime");
    PathSession.loadAll(model.file(), settings);
    for (PathRun path : paths) {
      if (!path.kind().runsDenseTwin()) {
        open(path); // first, since the model's own tensors define the inputs
      }
    }
    requireSoundModel();
    for (PathRun path : paths) {
      if (path.kind().runsDenseTwin()) {
        open(path);
      }
    }
  }

  private void open(PathRun path) throws BenchmarkException {
    cancellation.check();
    listener.onPhase("Opening " + path.kind().id());
    Long before = ProcFiles.residentBytes();
    try {
      PathSession session = new PathSession(path.kind(), fileOf(path.kind()), settings, false);
      path.setSession(session);
      path.result.initMs = session.initMs();
      path.result.delegatedNodes = path.kind() == PathKind.DELEGATE ? null : Integer.valueOf(0);
      if (inputs == null) {
        inputs = Inputs.of(model, session.inputSpecs(), settings.seed());
      }
      session.setInput(inputs, 0);
      path.result.firstMs = session.run();
      Long after = ProcFiles.residentBytes();
      path.result.rssGrowthBytes = before == null || after == null ? null : Long.valueOf(after - before);
      path.result.claim = session.claim();
      path.result.description = session.description();
      log.add("path " + path.kind().id() + ": " + path.result.description);
      logRefusals(path);
    } catch (RuntimeException | LinkageError | OutOfMemoryError e) {
      fail(path, e);
    }
  }

  private File fileOf(PathKind kind) {
    if (!kind.runsDenseTwin()) {
      return model.file();
    }
    if (model.denseFile() == null) {
      throw new UnsupportedOperationException(
          "the path " + kind.id() + " needs a model with a dense twin. Received: " + model.name()
              + " without");
    }
    return model.denseFile();
  }

  private void logRefusals(PathRun path) {
    if (path.result.claim != null) {
      for (String refusal : path.result.claim.refusals()) {
        log.add("path " + path.kind().id() + ": not claimed: " + refusal);
      }
    }
  }

  private void fail(PathRun path, Throwable error) {
    path.fail(error);
    log.add("path " + path.kind().id() + ": failed: " + path.result.error);
  }

  /**
   * Where no path of the model's own file could be opened, TFLite's own kernels tell whether the file is at
   * fault.
   */
  private void requireSoundModel() throws BenchmarkException {
    boolean tried = false;
    for (PathRun path : paths) {
      if (path.isAlive()) {
        return;
      }
      tried |= !path.kind().runsDenseTwin();
    }
    try {
      if (tried) {
        openReference();
      }
    } catch (RuntimeException e) {
      throw new BenchmarkException(
          BenchmarkException.Reason.MODEL_BROKEN,
          "a model must be a .tflite file that TFLite's own kernels can open. Received: "
              + model.file().getName() + ": " + e.getMessage(),
          e);
    }
  }

  /**
   * The session whose outputs are the reference; opened for that alone where builtin is not among the paths.
   */
  private PathSession openReference() throws BenchmarkException {
    for (PathRun path : paths) {
      if (path.kind() == PathKind.BUILTIN && path.isAlive()) {
        return path.session();
      }
    }
    if (ownReference == null) {
      ownReference = new PathSession(PathKind.BUILTIN, model.file(), settings, false);
    }
    if (inputs == null) {
      inputs = Inputs.of(model, ownReference.inputSpecs(), settings.seed());
    }
    return ownReference;
  }

  /**
   * Compares every path's outputs with the reference's on all inputs.
   *
   * @param sink receives the first input's tensors; may be null
   */
  void compare(TensorSink sink) throws BenchmarkException {
    if (alive().isEmpty()) {
      return;
    }
    List<OutputComparison> comparisons = new ArrayList<OutputComparison>();
    for (int i = 0; i < paths.size(); i++) {
      comparisons.add(new OutputComparison());
    }
    boolean comparable = true;
    for (int input = 0; comparable && input < inputs.count(); input++) {
      listener.onPhase("Comparing outputs: input " + (input + 1) + " of " + inputs.count());
      PathSession reference = runReference(input);
      comparable = reference != null; // else the differences stay unknown
      for (int i = 0; comparable && i < paths.size(); i++) {
        compare(paths.get(i), comparisons.get(i), reference, input);
      }
      if (comparable && sink != null && input == 0) {
        give(sink, reference);
      }
    }
    for (int i = 0; comparable && i < paths.size(); i++) {
      paths.get(i).result.maxAbsDifference = comparisons.get(i).maxAbsDifference();
      paths.get(i).result.top1Agreement = comparisons.get(i).top1Agreement();
    }
    closeReference();
    setFirstInput();
  }

  /** The reference after a run on an input, or null where TFLite's own kernels cannot run the model. */
  private PathSession runReference(int input) throws BenchmarkException {
    try {
      PathSession reference = openReference();
      runOn(reference, input);
      return reference;
    } catch (RuntimeException e) {
      log.add("outputs are not compared: TFLite's own kernels fail: " + e.getMessage());
      return null;
    }
  }

  private void runOn(PathSession session, int input) throws BenchmarkException {
    cancellation.check();
    session.setInput(inputs, input);
    session.run();
  }

  private void compare(PathRun path, OutputComparison comparison, PathSession reference, int input)
      throws BenchmarkException {
    if (!path.isAlive()) {
      return;
    }
    try {
      if (path.session() != reference) {
        runOn(path.session(), input);
      }
      comparison.add(path.session(), reference);
      if (inputs.fromSamples()) {
        path.result.samples.add(SampleClassifier.classify(inputs.sample(input), path.session()));
      }
    } catch (RuntimeException e) {
      fail(path, e);
    }
  }

  private void give(TensorSink sink, PathSession reference) {
    for (int i = 0; i < reference.inputSpecs().size(); i++) {
      sink.input(i, reference.inputSpecs().get(i).dtype(), readOnly(reference.inputBuffer(i)));
    }
    for (PathRun path : alive()) {
      List<TensorSpec> outputs = path.session().outputSpecs();
      for (int i = 0; i < outputs.size(); i++) {
        sink.output(path.kind(), i, outputs.get(i).dtype(), readOnly(path.session().outputBuffer(i)));
      }
    }
  }

  private static ByteBuffer readOnly(ByteBuffer buffer) {
    ByteBuffer copy = buffer.asReadOnlyBuffer().order(buffer.order());
    ((Buffer) copy).clear();
    return copy;
  }

  /** Every timed run gets the same input. */
  private void setFirstInput() {
    for (PathRun path : alive()) {
      path.session().setInput(inputs, 0);
    }
  }

  /** Runs the warm-up rounds. */
  void warmUp() throws BenchmarkException {
    for (int round = 0; round < settings.warmup(); round++) {
      listener.onPhase("Warming up: round " + (round + 1) + " of " + settings.warmup());
      List<PathRun> alive = alive();
      for (int i : Statistics.order(alive.size(), round)) {
        runOnce(alive.get(i));
      }
    }
  }

  /** Runs the timed rounds. */
  void time() throws BenchmarkException {
    listener.onPhase("Measuring");
    System.gc(); // a collection in the middle of one path's run would be counted against it
    long start = System.nanoTime();
    int total = settings.runs();
    for (int round = 0; round < total && !alive().isEmpty(); round++) {
      List<PathRun> alive = alive();
      for (int i : Statistics.order(alive.size(), settings.warmup() + round)) {
        PathRun path = alive.get(i);
        Double ms = runOnce(path);
        if (ms != null) {
          path.record((path.session().startNanos() - start) / 1e6, ms);
          listener.onRound(round + 1, total, path.kind(), ms);
        }
      }
      total = Math.max(total, roundsFor(settings.minSeconds(), round + 1, (System.nanoTime() - start) / 1e9));
    }
  }

  /** How many rounds last for some seconds, going by those so far. */
  private static int roundsFor(double minSeconds, int done, double seconds) {
    if (seconds >= minSeconds) {
      return done;
    }
    double rounds = Math.ceil(done * minSeconds / Math.max(seconds, 1e-9));
    return (int) Math.min(BenchmarkSettings.MAX_ROUNDS, Math.max(done + 1.0, rounds));
  }

  /** One run in milliseconds, or null if the path failed. */
  private Double runOnce(PathRun path) throws BenchmarkException {
    cancellation.check();
    settle();
    try {
      return path.session().run();
    } catch (RuntimeException e) {
      fail(path, e);
      return null;
    }
  }

  /**
   * Waits until the threads of the path that ran before are asleep. XNNPACK's spin for 10 to 20 ms after a run (TFLite
   * 2.16.1, by the process's CPU time) and would take cores from the path that runs next: with two threads on two
   * cores, a run of 0.2 ms then took 7.7 ms. The wait is a busy one, lest the core's clock goes down.
   */
  private void settle() {
    long end = System.nanoTime() + (long) (RunSettings.settleMs(settings.numThreads()) * 1e6);
    while (System.nanoTime() - end < 0) {
      // Nothing: see above.
    }
  }

  /**
   * Reads the delegate's counters in runs of their own, so that measuring each layer does not slow the timed
   * ones.
   */
  void profile() throws BenchmarkException {
    for (PathRun path : alive()) {
      if (path.kind() == PathKind.DELEGATE) {
        listener.onPhase("Profiling the delegate's layers");
        try (PathSession session = new PathSession(path.kind(), model.file(), settings, true)) {
          session.setInput(inputs, 0);
          for (int i = 0; i < PROFILED_RUNS; i++) {
            cancellation.check();
            session.run();
          }
          path.result.counters = session.counters();
          log.add(
              "path " + path.kind().id() + ": counters of " + PROFILED_RUNS
                  + " runs apart from the timed ones");
        } catch (RuntimeException e) {
          log.add("path " + path.kind().id() + ": no counters: " + e.getMessage());
        }
      }
    }
  }

  /** The timed runs of every path that succeeded. */
  List<double[]> times() {
    List<double[]> times = new ArrayList<double[]>();
    for (PathRun path : alive()) {
      times.add(path.runsMs());
    }
    return times;
  }

  List<PathResult> results() {
    List<PathResult> results = new ArrayList<PathResult>();
    for (PathRun path : paths) {
      results.add(path.finish());
    }
    return results;
  }

  boolean fromSamples() {
    return inputs != null && inputs.fromSamples();
  }

  int comparedInputs() {
    return inputs == null || alive().isEmpty() ? 0 : inputs.count();
  }

  private List<PathRun> alive() {
    List<PathRun> alive = new ArrayList<PathRun>();
    for (PathRun path : paths) {
      if (path.isAlive()) {
        alive.add(path);
      }
    }
    return alive;
  }

  private void closeReference() {
    if (ownReference != null) {
      ownReference.close();
      ownReference = null;
    }
  }

  @Override
  public void close() {
    closeReference();
    for (PathRun path : paths) {
      path.close();
    }
  }
}
