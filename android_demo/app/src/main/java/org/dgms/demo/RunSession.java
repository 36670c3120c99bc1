package org.dgms.demo;

import android.content.Context;
import android.util.Log;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.dgms.demo.bench.BenchmarkException;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.BenchmarkRunner;
import org.dgms.demo.bench.ModelSpec;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.PathResult;
import org.dgms.demo.bench.ResultStore;

/**
 * One benchmark on its own thread. It belongs to the process, not to a screen: activities come and
 * go with rotation, look at {@link #snapshot} as long as they are there, and are never referred to
 * from here. Only one can run at a time, for two would disturb each other's times.
 */
final class RunSession {
  /** How far a session has got. */
  enum State {
    RUNNING,
    DONE,
    FAILED,
    CANCELLED
  }

  /** What a screen shows; taken at one moment, never changed. */
  static final class Snapshot {
    final State state;
    final String model;
    final String phase;
    final int done;
    final int total;
    final PathKind path;
    final List<LatencySeries> series;
    final boolean sustained;
    final File result;
    final String failure;

    private Snapshot(RunSession session) {
      state = session.state;
      model = session.model;
      phase = session.phase;
      done = session.done;
      total = session.total;
      path = session.path;
      sustained = session.environment.wantsSustainedPerformance();
      result = session.result;
      failure = session.failure;
      series = new ArrayList<LatencySeries>();
      for (PathKind kind : SettingsForm.ORDER) {
        Runs runs = session.runs.get(kind);
        if (runs != null) {
          series.add(runs.latest(kind));
        }
      }
    }
  }

  /** The runs of one path so far. */
  private static final class Runs {
    private double[] startsMs = new double[256];
    private double[] runsMs = new double[256];
    private int count;

    void add(double startMs, double ms) {
      if (count == runsMs.length) {
        startsMs = java.util.Arrays.copyOf(startsMs, 2 * count);
        runsMs = java.util.Arrays.copyOf(runsMs, 2 * count);
      }
      startsMs[count] = startMs;
      runsMs[count++] = ms;
    }

    /** Not all of a long benchmark, lest drawing it takes time from what is measured. */
    LatencySeries latest(PathKind kind) {
      int begin = Math.max(0, count - LIVE_RUNS);
      return new LatencySeries(
          kind,
          java.util.Arrays.copyOfRange(startsMs, begin, count),
          java.util.Arrays.copyOfRange(runsMs, begin, count));
    }
  }

  private static final int LIVE_RUNS = 1000;

  private static RunSession current;
  private static int sessions;

  private final int id;
  private final Context context;
  private final RunRequest request;
  private final AndroidEnvironment environment;
  private final Map<PathKind, Runs> runs = new EnumMap<PathKind, Runs>(PathKind.class);

  private State state = State.RUNNING;
  private String model;
  private String phase;
  private int done;
  private int total;
  private PathKind path;
  private long firstRunNanos;
  private File result;
  private String failure;
  private BenchmarkRunner runner;
  private boolean cancelled;

  private RunSession(Context context, RunRequest request, int id) {
    this.context = context.getApplicationContext();
    this.request = request;
    this.id = id;
    environment = new AndroidEnvironment(context);
    model = new File(request.model).getName().replaceAll("\\.tflite$", "");
    phase = context.getString(R.string.phase_preparing);
  }

  /**
   * Starts a session.
   *
   * @return null if another one is running, which goes on
   */
  static synchronized RunSession start(Context context, RunRequest request) {
    if (running() != null) {
      return null;
    }
    final RunSession session = new RunSession(context, request, ++sessions);
    current = session;
    new Thread("dgms-benchmark") {
      @Override
      public void run() {
        session.run();
      }
    }.start();
    return session;
  }

  /** The session that is running, or null. */
  static synchronized RunSession running() {
    return current != null && current.snapshot().state == State.RUNNING ? current : null;
  }

  /** The session of that number; null if the process is another one by now. */
  static synchronized RunSession of(int id) {
    return current != null && current.id == id ? current : null;
  }

  /** Number of this session in this process. */
  int id() {
    return id;
  }

  /** What was asked for. */
  RunRequest request() {
    return request;
  }

  /** Where the session is now. */
  synchronized Snapshot snapshot() {
    return new Snapshot(this);
  }

  /** Ends the benchmark after the run that is under way. */
  synchronized void cancel() {
    cancelled = true;
    if (runner != null) {
      runner.cancel();
    }
  }

  private void run() {
    try {
      ModelSpec spec = findModel();
      BenchmarkRunner created = new BenchmarkRunner(spec, request.settings, environment);
      synchronized (this) {
        model = spec.title();
        runner = created;
        if (cancelled) {
          created.cancel();
        }
      }
      BenchmarkResult outcome = created.run(new Progress());
      ResultStore store = Results.store(context);
      File file =
          request.output == null ? store.save(outcome) : store.save(outcome, request.output);
      ended(State.DONE, file, null, Log.INFO, doneLine(outcome, file));
    } catch (BenchmarkException e) {
      if (e.reason() == BenchmarkException.Reason.CANCELLED) {
        String cancelledLine = failedLine(context.getString(R.string.reason_cancelled));
        ended(State.CANCELLED, null, null, Log.ERROR, cancelledLine);
      } else {
        failed(e);
      }
    } catch (IOException | RuntimeException e) {
      failed(e);
    } catch (LinkageError | OutOfMemoryError e) {
      failed(e);
    }
  }

  private ModelSpec findModel() throws IOException {
    ModelLibrary.Listing listing = new ModelLibrary(context).list();
    ModelSpec found = listing.find(request.model);
    if (found == null) {
      StringBuilder names = new StringBuilder();
      for (ModelLibrary.Entry entry : listing.entries) {
        names.append(names.length() == 0 ? "" : ", ").append(entry.model.name());
      }
      for (String problem : listing.problems) {
        names.append('\n').append(problem);
      }
      throw new IOException(
          context.getString(R.string.problem_no_such_model, request.model, names));
    }
    return found;
  }

  private void failed(Throwable reason) {
    ended(
        State.FAILED,
        null,
        Reasons.of(context, reason),
        Log.ERROR,
        failedLine(Reasons.message(reason)));
  }

  /**
   * State and log line at once: whoever sees the end finds the line, and a script that sees the
   * line can start the next benchmark.
   */
  private void ended(State end, File file, String reason, int priority, String line) {
    synchronized (RunSession.class) {
      synchronized (this) {
        result = file;
        failure = reason;
        runner = null;
        state = end;
      }
      Log.println(priority, AndroidEnvironment.TAG, line);
    }
  }

  /** The one line that scripts wait for. */
  private static String doneLine(BenchmarkResult outcome, File file) {
    StringBuilder line = new StringBuilder("DONE file=").append(file.getPath());
    line.append(" model=").append(outcome.model().name());
    for (PathResult each : outcome.paths()) {
      line.append(' ').append(each.kind().id()).append('=');
      line.append(
          each.succeeded() ? String.format(Locale.ROOT, "%.3f ms", each.medianMs()) : "failed");
    }
    PathKind peer = outcome.peer();
    Double ratio = peer == null ? null : outcome.ratio(PathKind.DELEGATE, peer);
    if (ratio != null) {
      line.append(String.format(Locale.ROOT, " ratio=%.3f to=%s", ratio, peer.id()));
    }
    return line.toString();
  }

  /** The other line that scripts wait for. */
  private static String failedLine(String reason) {
    return "FAILED reason=" + reason.replaceAll("\\s+", " ");
  }

  /** Logs that line for a benchmark that never began. */
  static void logFailure(String reason) {
    Log.e(AndroidEnvironment.TAG, failedLine(reason));
  }

  /** Hears from the runner, on its thread, between runs: only takes notes. */
  private final class Progress implements BenchmarkRunner.Listener {
    @Override
    public void onPhase(String text) {
      synchronized (RunSession.this) {
        phase = text;
      }
    }

    @Override
    public void onRound(int doneRounds, int totalRounds, PathKind kind, double ms) {
      long now = System.nanoTime();
      synchronized (RunSession.this) {
        if (runs.isEmpty()) {
          firstRunNanos = now - (long) (ms * 1e6);
        }
        done = doneRounds;
        total = totalRounds;
        path = kind;
        Runs list = runs.get(kind);
        if (list == null) {
          list = new Runs();
          runs.put(kind, list);
        }
        list.add((now - firstRunNanos) / 1e6 - ms, ms);
      }
    }
  }
}
