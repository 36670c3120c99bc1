package org.dgms.demo.bench;

import java.util.Arrays;

/** One path while it is measured: its session, its times so far, or why it failed. */
final class PathRun {
  final PathResult.Builder result;
  private PathSession session;
  private double[] runsMs = new double[64];
  private double[] startsMs = new double[64];
  private int count;

  PathRun(PathKind kind) {
    result = new PathResult.Builder(kind);
  }

  PathKind kind() {
    return result.kind;
  }

  /** Whether the path is open and nothing has gone wrong. */
  boolean isAlive() {
    return session != null;
  }

  PathSession session() {
    return session;
  }

  void setSession(PathSession opened) {
    session = opened;
  }

  void record(double startMs, double ms) {
    if (count == runsMs.length) {
      runsMs = Arrays.copyOf(runsMs, 2 * count);
      startsMs = Arrays.copyOf(startsMs, 2 * count);
    }
    startsMs[count] = startMs;
    runsMs[count++] = ms;
  }

  double[] runsMs() {
    return Arrays.copyOf(runsMs, count);
  }

  /** Keeps the reason and closes the session; the other paths go on. */
  void fail(Throwable error) {
    result.error = reason(error);
    close();
  }

  private static String reason(Throwable error) {
    if (error instanceof OutOfMemoryError) {
      return "memory ran out";
    }
    String message = error.getMessage();
    return message == null || message.isEmpty() ? error.toString() : message;
  }

  void close() {
    if (session != null) {
      session.close();
      session = null;
    }
  }

  PathResult finish() {
    result.runsMs = runsMs();
    result.startsMs = Arrays.copyOf(startsMs, count);
    return result.build();
  }
}
