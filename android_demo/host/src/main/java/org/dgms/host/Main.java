package org.dgms.host;

import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import org.dgms.demo.bench.Activations;
import org.dgms.demo.bench.BenchmarkException;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.BenchmarkRunner;
import org.dgms.demo.bench.BenchmarkSettings;
import org.dgms.demo.bench.ModelCatalog;
import org.dgms.demo.bench.ModelSpec;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.PathResult;
import org.dgms.demo.bench.ResultStore;

/**
 * The app's benchmark runner on a desktop's JVM, over the unmodified TFLite for Android: prints a comparison
 * for every model of a folder. Exit status 0: every path ran and the outputs agree; 1: not so; 2: wrong
 * usage.
 *
 * <p>What "agree" means for the delegate and for XNNPACK, against TFLite's own kernels on the same file:
 *
 * <ul>
 *   <li>float activations: {@link #FLOAT_BOUND} times the largest output. The sums are the same up to the
 *       order of additions.
 *   <li>int8 models: {@link #INT8_BOUND} steps. What the delegate runs is exact, but in both paths XNNPACK
 *       runs other layers, and it rounds in float where TFLite rounds in fixed point: a layer can be off by a
 *       step, and later layers pass that on.
 *   <li>float models with dynamic int8 activations: {@link #DYNAMIC_BOUND} times the largest output, for
 *       rounding each row's activations to 8 bits.
 *   <li>The dense twin is another file; its difference, which has the error of weight sharing in it, is
 *       printed only.
 * </ul>
 */
public final class Main {
  static final double FLOAT_BOUND = 1e-4;
  static final double INT8_BOUND = 3;
  static final double DYNAMIC_BOUND = 0.1;

  private final Arguments arguments;
  private final BenchmarkSettings settings;
  private final PrintStream out;
  private final List<String> problems = new ArrayList<String>();

  private Main(Arguments arguments, PrintStream out) {
    this.arguments = arguments;
    this.settings = arguments.settings.build();
    this.out = out;
  }

  /** See the class. */
  public static void main(String[] words) throws IOException {
    Arguments arguments;
    try {
      arguments = Arguments.parse(words);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.err.print(Arguments.USAGE);
      System.exit(2);
      return;
    }
    ShimLoader.load();
    System.exit(new Main(arguments, System.out).run());
  }

  private int run() throws IOException {
    List<ModelSpec> models = chosen();
    if (models.isEmpty() && problems.isEmpty()) {
      problems.add("--models must name a folder with models. Received: " + arguments.models);
    }
    for (ModelSpec model : models) {
      out.println(model.name() + ": " + model.title());
      TensorFiles tensors = new TensorFiles(arguments.dump, model.name());
      try {
        BenchmarkRunner runner = new BenchmarkRunner(model, settings, new DesktopEnvironment(out));
        runner.setTensorSink(tensors);
        BenchmarkResult result = runner.run(new Quiet());
        print(result);
        check(model, result, tensors);
        if (arguments.json != null) {
          out.println("  written: " + new ResultStore(arguments.json).save(result, model.name()).getName());
        }
      } catch (BenchmarkException e) {
        problems.add(model.name() + ": " + e.getMessage());
      }
    }
    for (String problem : problems) {
      System.err.println("FAILED " + problem);
    }
    return problems.isEmpty() ? 0 : 1;
  }

  private List<ModelSpec> chosen() throws IOException {
    List<ModelSpec> models = ModelCatalog.list(arguments.models);
    if (arguments.model == null) {
      return models;
    }
    ModelSpec model = ModelCatalog.find(models, arguments.model);
    if (model == null) {
      problems.add("--model must be one of the folder's or a file. Received: " + arguments.model);
      return new ArrayList<ModelSpec>();
    }
    return Collections.singletonList(model);
  }

  private void print(BenchmarkResult result) {
    row("path", "init", "first", "median", "p90", "vs dense", "vs xnnpack", "difference", "top-1", "claimed");
    for (PathResult path : result.paths()) {
      if (!path.succeeded()) {
        out.printf("  %-14s failed: %s%n", path.kind().id(), path.error());
        continue;
      }
      row(
          path.kind().id(),
          ms(path.initMs()),
          ms(path.firstMs()),
          ms(path.medianMs()),
          ms(path.p90Ms()),
          number("%.2f", result.ratio(path.kind(), PathKind.DENSE_XNNPACK)),
          number("%.2f", result.ratio(path.kind(), PathKind.XNNPACK)),
          number("%.1e", path.maxAbsDifference()),
          number("%.2f", path.top1Agreement()),
          path.claim() == null ? "" : path.claim().operators() + "/" + path.claim().candidates());
    }
    out.printf(
        "  times in ms, %d thread(s), %d rounds interleaved%s%n",
        settings.numThreads(), settings.runs(), Boolean.TRUE.equals(result.throttled()) ? ", THROTTLED" : "");
  }

  private void row(Object... cells) {
    out.printf("  %-14s %8s %8s %8s %8s %9s %10s %10s %6s %8s%n", cells);
  }

  private static String ms(double value) {
    return number("%.3f", value);
  }

  private static String number(String format, Double value) {
    return value == null ? "-" : String.format(Locale.ROOT, format, value);
  }

  private void check(ModelSpec model, BenchmarkResult result, TensorFiles tensors) {
    for (PathResult path : result.paths()) {
      String who = model.name() + ", path " + path.kind().id();
      if (!path.succeeded()) {
        problems.add(who + ": " + path.error());
      } else if (path.kind() == PathKind.DELEGATE && path.claim().operators() == 0) {
        problems.add(who + ": the delegate must claim at least one layer. Received: none");
      } else if (!path.kind().runsDenseTwin()) {
        double bound = bound(path.kind(), tensors);
        Double difference = path.maxAbsDifference();
        if (difference == null || difference > bound) {
          problems.add(who + ": outputs must agree within " + bound + ". Received: " + difference);
        }
      }
    }
  }

  private double bound(PathKind kind, TensorFiles tensors) {
    if (tensors.outputsAreIntegers()) {
      return INT8_BOUND;
    }
    boolean dynamic = kind == PathKind.DELEGATE && settings.activations() == Activations.DYNAMIC_INT8;
    return (dynamic ? DYNAMIC_BOUND : FLOAT_BOUND) * tensors.largestOutput();
  }

  /** The table says it all. */
  private static final class Quiet implements BenchmarkRunner.Listener {
    @Override
    public void onPhase(String text) {}

    @Override
    public void onRound(int done, int total, PathKind path, double ms) {}
  }
}
