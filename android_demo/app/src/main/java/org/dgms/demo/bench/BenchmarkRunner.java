package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.tensorflow.lite.TensorFlowLite;

/**
 * Measures one model in several ways, interleaved: each round runs every path once, in changing order ({@link
 * Statistics#order}), so that heat and neighbours hit all paths alike. What counts is the ratio of medians.
 *
 * <p>A runner is used once. {@link #run} works on the calling thread and takes as long as the settings ask
 * for.
 */
public final class BenchmarkRunner {
  /** Told about progress, on the runner's thread and never within a timed run; it should return quickly. */
  public interface Listener {
    /** A new phase, in words for people. */
    void onPhase(String text);

    /**
     * One path was run in a timed round.
     *
     * @param done the timed round that this run belongs to, counted from 1
     * @param total timed rounds in all, as far as known: grows while {@link BenchmarkSettings#minSeconds}
     *     asks for more
     * @param path which path
     * @param ms duration of the run in milliseconds
     */
    void onRound(int done, int total, PathKind path, double ms);
  }

  private final ModelSpec model;
  private final BenchmarkSettings settings;
  private final Environment environment;
  private final Cancellation cancellation = new Cancellation();
  private TensorSink sink;
  private boolean used;

  /** A runner for one model. */
  public BenchmarkRunner(ModelSpec model, BenchmarkSettings settings, Environment environment) {
    this.model = model;
    this.settings = settings;
    this.environment = environment;
  }

  /** Hands the raw tensors of the first input to a sink; to be set before {@link #run}. */
  public void setTensorSink(TensorSink sink) {
    this.sink = sink;
  }

  /**
   * Stops the benchmark before its next run, from any thread and at any time; {@link #run} then throws. Does
   * nothing once it has ended.
   */
  public void cancel() {
    cancellation.cancel();
  }

  /**
   * Runs the benchmark on the calling thread, whose CPU affinity is restored at the end.
   *
   * @param listener told about progress
   * @return the result; a path that failed has its reason in it, and the others have their figures
   * @throws BenchmarkException nothing could be measured, or it was cancelled; {@link
   *     BenchmarkException#reason} says why
   * @throws IllegalStateException this runner was used before
   */
  public BenchmarkResult run(Listener listener) throws BenchmarkException {
    synchronized (this) {
      if (used) {
        throw new IllegalStateException("a BenchmarkRunner runs once. Received: a second run");
      }
      used = true;
    }
    RunLog log = new RunLog(environment);
    ThreadBinding binding = null;
    boolean sustained = false;
    try {
      BenchmarkResult.Builder result = describe();
      coolDown(listener);
      sustained = settings.sustained() && environment.setSustainedPerformance(true);
      logSustained(log, sustained);
      binding = ThreadBinding.apply(settings.affinity(), environment.cpuTopology(), log);
      measure(result, listener, log, binding, sustained);
      return result.build();
    } catch (OutOfMemoryError e) {
      throw new BenchmarkException(
          BenchmarkException.Reason.OUT_OF_MEMORY,
          "memory must suffice for the model. Received: " + e.getMessage(),
          e);
    } finally {
      if (binding != null) {
        binding.restore();
      }
      if (sustained) {
        environment.setSustainedPerformance(false);
      }
    }
  }

  private void logSustained(RunLog log, boolean sustained) {
    if (settings.sustained()) {
      log.add("sustained-performance mode: " + (sustained ? "on" : "asked for, but this device has none"));
    }
  }

  private BenchmarkResult.Builder describe() throws BenchmarkException {
    BenchmarkResult.Builder result = new BenchmarkResult.Builder();
    result.toolVersion = environment.toolVersion();
    result.machine = environment.machine();
    result.model = describe(model.name(), model.title(), model.file());
    File dense = model.denseFile();
    result.dense = dense == null ? null : describe(ModelSpec.ofFile(dense).name(), null, dense);
    return result;
  }

  private static ModelFileInfo describe(String name, String title, File file) throws BenchmarkException {
    try {
      return ModelFileInfo.of(name, title, file);
    } catch (IOException e) {
      throw new BenchmarkException(
          BenchmarkException.Reason.MODEL_UNREADABLE,
          "a model must be a readable file. Received: " + file + " (" + e.getMessage() + ")",
          e);
    }
  }

  private void coolDown(Listener listener) throws BenchmarkException {
    for (int left = settings.coolDownSeconds(); left > 0; left--) {
      listener.onPhase("Cooling down: " + left + " s");
      cancellation.sleep(1000);
    }
  }

  private void measure(
      BenchmarkResult.Builder result, Listener listener, RunLog log, ThreadBinding binding, boolean sustained)
      throws BenchmarkException {
    loadRuntime();
    result.runtime = "TensorFlow Lite " + TensorFlowLite.runtimeVersion() + " (Java)";
    log.add("runtime: " + result.runtime + ", schema " + TensorFlowLite.schemaVersion());
    List<PathKind> kinds = new ArrayList<PathKind>(settings.paths());
    if (model.denseFile() == null && kinds.size() > 1) {
      kinds.remove(PathKind.DENSE_XNNPACK);
    }
    try (PathGroup group = new PathGroup(model, settings, kinds, cancellation, listener, log)) {
      result.thermalBefore = environment.thermalStatus();
      group.open();
      group.compare(sink);
      group.warmUp();
      group.time();
      result.thermalAfter = environment.thermalStatus();
      if (settings.profile()) {
        group.profile();
      }
      result.drift = Statistics.commonDrift(group.times());
      result.throttled = Statistics.throttled(result.drift, result.thermalBefore, result.thermalAfter);
      result.peakMemoryBytes = ProcFiles.peakResidentBytes();
      result.settings =
          RunSettings.of(settings, binding.cpus(), group.fromSamples(), group.comparedInputs(), sustained);
      result.paths = group.results();
    }
    result.log = log.lines();
  }

  /** Loads TFLite before any path is opened, so that this is not counted as the first path's. */
  private static void loadRuntime() throws BenchmarkException {
    try {
      TensorFlowLite.init();
    } catch (LinkageError e) {
      throw new BenchmarkException(
          BenchmarkException.Reason.RUNTIME_UNAVAILABLE,
          "TFLite's native library must be loadable. Received: " + e.getMessage(),
          e);
    }
  }
}
