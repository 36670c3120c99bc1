package org.dgms.tflite;

import org.dgms.host.ShimLoader;
import org.tensorflow.lite.Interpreter;

/**
 * Programs that {@link DgmsDelegateProcessTest} runs in JVMs of their own; each prints what the test looks
 * for.
 */
final class DelegateProgram {
  private DelegateProgram() {}

  public static void main(String[] arguments) throws Exception {
    switch (arguments[0]) {
      case "available":
        available();
        break;
      case "many":
        many(Integer.parseInt(arguments[1]));
        break;
      case "log":
        log(Boolean.parseBoolean(arguments[1]));
        break;
      default:
        throw new IllegalArgumentException(arguments[0]);
    }
  }

  private static void available() {
    System.out.println("available: " + DgmsDelegate.isAvailable());
    System.out.println("reason: " + DgmsDelegate.unavailableReason());
    try {
      new DgmsDelegate().close();
      System.out.println("made one");
    } catch (UnsupportedOperationException error) {
      System.out.println("constructor: " + error.getMessage());
    }
    try {
      System.out.println("kernels: " + DgmsDelegate.kernelSet() + ", " + DgmsDelegate.cpuFeatures());
    } catch (UnsupportedOperationException error) {
      System.out.println("kernelSet: " + error.getMessage());
    }
  }

  /** One after another, each with everything that crosses into native code. */
  private static void many(int count) throws Exception {
    DgmsDelegate.Options options = new DgmsDelegate.Options().setProfiling(true).setNumThreads(2);
    for (int i = 0; i < count; i++) {
      DgmsDelegate delegate = new DgmsDelegate(options);
      try (Interpreter interpreter =
          TestModels.open(i % 3 == 2 ? TestModels.dense() : TestModels.compressed("int8"), delegate)) {
        TestModels.run(interpreter, i);
        int claimed = delegate.claim().claimedOperators();
        int layers = 0;
        for (NodeCounter counter : delegate.counters()) {
          layers += TestModels.layersOf(counter);
        }
        if (claimed != layers || (claimed == 0) != (i % 3 == 2)) {
          throw new IllegalStateException(delegate.claim() + ", " + delegate.counters());
        }
        if (i % 2 == 0) {
          delegate.close();
        }
      }
      delegate.close();
    }
    System.out.println("finished: " + count + " interpreters, " + DgmsDelegate.cpuFeatures());
  }

  private static void log(boolean logging) throws Exception {
    ShimLoader.load();
    DgmsDelegate.Options options = new DgmsDelegate.Options().setLogging(logging).setProfiling(true);
    try (DgmsDelegate delegate = new DgmsDelegate(options);
        Interpreter interpreter = TestModels.open(TestModels.compressed("float32"), delegate)) {
      TestModels.run(interpreter, 1);
      System.out.println("claim: " + delegate.claim());
    }
  }
}
