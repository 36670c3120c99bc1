package org.dgms.demo.bench;

import java.io.File;
import java.nio.charset.StandardCharsets;

/** A short benchmark of the first float model in a JVM of its own; the argument is the file for its JSON. */
final class BenchmarkProgram {
  private BenchmarkProgram() {}

  /** See the class. Exit status 1: no result, and the reason is printed. */
  public static void main(String[] arguments) throws Exception {
    TestModels.prepare();
    BenchmarkSettings settings = BenchmarkSettings.builder().setWarmup(0).setRuns(3).build();
    try {
      BenchmarkResult result =
          new BenchmarkRunner(TestModels.first("float32"), settings, new TestEnvironment())
              .run(
                  new BenchmarkRunner.Listener() {
                    @Override
                    public void onPhase(String text) {}

                    @Override
                    public void onRound(int done, int total, PathKind path, double ms) {}
                  });
      Files.writeAtomically(
          new File(arguments[0]), result.toJson().getBytes(StandardCharsets.UTF_8));
    } catch (BenchmarkException e) {
      System.out.println(e.reason() + ": " + e.getMessage());
      System.exit(1);
    }
  }
}
