package org.dgms.demo.bench;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.BeforeClass;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** The runner over Android's own TFLite with the real delegates. */
public class BenchmarkRunnerTest {
  /**
   * Float outputs against TFLite's own kernels, relative to the largest one: the order of additions differs.
   */
  private static final double FLOAT_BOUND = 1e-4;

  /** Steps. XNNPACK, which runs what the delegate leaves, rounds in float; TFLite in fixed point. */
  private static final double INT8_BOUND = 3;

  @Rule public final TemporaryFolder folder = new TemporaryFolder();
  private final TestEnvironment environment = new TestEnvironment();
  private final Recorder recorder = new Recorder();

  @BeforeClass
  public static void loadTflite() {
    TestModels.prepare();
  }

  private static BenchmarkSettings.Builder quick() {
    return BenchmarkSettings.builder().setWarmup(1).setRuns(9);
  }

  private BenchmarkResult run(ModelSpec model, BenchmarkSettings.Builder settings) throws Exception {
    return new BenchmarkRunner(model, settings.build(), environment).run(recorder);
  }

  @Test
  public void everyBundledModelRunsOnEveryPath() throws Exception {
    for (ModelSpec model : TestModels.all()) {
      boolean isInt8 = "int8".equals(model.activations());
      Outputs outputs = new Outputs();
      BenchmarkRunner runner = new BenchmarkRunner(model, quick().build(), environment);
      runner.setTensorSink(outputs);
      BenchmarkResult result = runner.run(recorder);
      ResultSchema.check(result.toJson());
      assertEquals(4, result.paths().size());
      for (PathResult path : result.paths()) {
        String who = model.name() + " " + path.kind().id();
        assertNull(who, path.error());
        assertEquals(who, 9, path.runsMs().length);
        assertTrue(who, path.initMs() > 0 && path.firstMs() > 0 && path.minMs() > 0);
        assertEquals(who, model.samples().size(), path.samples().size());
        if (path.kind() != PathKind.DENSE_XNNPACK) {
          double bound = isInt8 ? INT8_BOUND : FLOAT_BOUND * outputs.largest;
          assertTrue(who + " " + path.maxAbsDifference(), path.maxAbsDifference() <= bound);
        }
      }
      assertEquals(0.0, result.path(PathKind.BUILTIN).maxAbsDifference(), 0);
      assertEquals(1.0, result.path(PathKind.BUILTIN).top1Agreement(), 0);
      assertTrue(result.path(PathKind.DELEGATE).claim().operators() > 0);
      assertNull(result.path(PathKind.XNNPACK).claim());
    }
  }

  @Test
  public void sampleImagesAreRecognised() throws Exception {
    for (ModelSpec model : TestModels.all()) {
      BenchmarkResult result = run(model, quick().setRuns(1).setPaths("delegate,builtin"));
      for (PathResult path : result.paths()) {
        int right = 0;
        for (Classification sample : path.samples()) {
          assertTrue(sample.probability() > 0 && sample.probability() <= 1);
          right += sample.isRight() ? 1 : 0;
        }
        // Chance is one in ten or twelve; the models' own accuracy on 12 images: at most a third wrong.
        assertTrue(model.name() + ": " + right, right >= path.samples().size() * 2 / 3);
      }
    }
  }

  @Test
  public void theResultTellsWhatWasRun() throws Exception {
    ModelSpec model = TestModels.first("float32");
    BenchmarkResult result = run(model, quick().setNumThreads(2).setProfile(true).setSustained(true));
    assertEquals(model.name(), result.model().name());
    assertEquals(model.file().length(), result.model().bytes());
    assertEquals(Files.sha256(model.denseFile()), result.dense().sha256());
    assertTrue(result.runtime(), result.runtime().matches("TensorFlow Lite [0-9.]+ \\(Java\\)"));
    assertEquals(2, result.settings().numThreads());
    assertEquals("samples", result.settings().inputs());
    assertEquals(Integer.valueOf(model.samples().size()), result.settings().agreementInputs());
    assertTrue(result.peakMemoryBytes() > 1 << 20);
    assertNotNull(result.drift());
    assertEquals(Arrays.asList("on", "off"), environment.sustained);
    assertEquals(result.log(), environment.lines);
    DelegateClaim claim = result.path(PathKind.DELEGATE).claim();
    assertEquals(
        "the DGMS delegate (2 threads, float32 activations) runs " + claim.operators() + " of "
            + claim.candidates() + " layers (" + claim.nodes()
            + " nodes of the file), XNNPACK (2 threads) the rest",
        result.path(PathKind.DELEGATE).description());
    for (PathResult path : result.paths()) {
      assertTrue(result.log().contains("path " + path.kind().id() + ": " + path.description()));
    }
  }

  @Test
  public void countersAreOfRunsApartFromTheTimedOnes() throws Exception {
    BenchmarkResult result = run(TestModels.first("float32"), quick().setProfile(true));
    PathResult delegate = result.path(PathKind.DELEGATE);
    int layers = 0; // the others multiply nothing: pooling and the like
    for (NodeTime node : delegate.counters()) {
      assertEquals(10, node.calls()); // not 1 + 1 + 9 + samples
      assertTrue(node.fastestMs() > 0 && node.fastestMs() <= node.meanMs() && node.macs() >= 0);
      layers += node.macs() > 0 ? 1 : 0;
    }
    assertEquals(delegate.claim().operators(), layers);
    assertNull(run(TestModels.first("float32"), quick().setRuns(1)).path(PathKind.DELEGATE).counters());
  }

  @Test
  public void roundsRunInTheStatedOrder() throws Exception {
    run(TestModels.first("float32"), quick().setWarmup(1).setRuns(6).setPaths("delegate,xnnpack,builtin"));
    String[] ids = {"delegate", "xnnpack", "builtin"};
    List<String> expected = new ArrayList<String>();
    List<Integer> rounds = new ArrayList<Integer>();
    for (int round = 1; round <= 6; round++) {
      for (int path : Statistics.order(3, round)) { // the warm-up round was number 0
        expected.add(ids[path]);
        rounds.add(round);
      }
    }
    assertEquals(expected, recorder.paths);
    assertEquals(rounds, recorder.rounds);
  }

  @Test
  public void runsDoNotOverlap() throws Exception {
    BenchmarkResult result =
        run(TestModels.first("float32"), quick().setWarmup(0).setPaths("delegate,xnnpack,builtin"));
    double free = 0; // when the run before had ended
    for (int round = 0; round < 9; round++) {
      for (int i : Statistics.order(3, round)) {
        PathResult path = result.paths().get(i);
        assertTrue(path.startsMs()[round] >= free);
        free = path.startsMs()[round] + path.runsMs()[round];
      }
    }
  }

  @Test
  public void withSeveralThreadsEachRunWaitsUntilThoseOfTheOneBeforeSleep() throws Exception {
    BenchmarkResult result =
        run(
            TestModels.first("float32"),
            quick().setNumThreads(2).setWarmup(0).setRuns(2).setPaths("delegate,builtin"));
    assertEquals(30, result.settings().settleMs(), 0);
    double free = -30; // when the run before had ended
    for (int round = 0; round < 2; round++) {
      for (int i : Statistics.order(2, round)) {
        PathResult path = result.paths().get(i);
        assertTrue(path.startsMs()[round] >= free + 30);
        free = path.startsMs()[round] + path.runsMs()[round];
      }
    }
    assertEquals(0, run(TestModels.first("float32"), quick().setRuns(1)).settings().settleMs(), 0);
  }

  @Test
  public void minSecondsAddsRounds() throws Exception {
    BenchmarkResult result =
        run(TestModels.first("float32"), quick().setRuns(2).setMinSeconds(0.3).setPaths("delegate"));
    PathResult path = result.path(PathKind.DELEGATE);
    double[] starts = path.startsMs();
    assertTrue(starts.length > 2);
    double last = starts[starts.length - 1] + path.runsMs()[starts.length - 1];
    assertTrue("" + last, last > 290); // a round's own overhead may make up the rest
    assertEquals(starts.length, (int) recorder.rounds.get(recorder.rounds.size() - 1));
    assertEquals(Integer.valueOf(starts.length), recorder.totals.get(recorder.totals.size() - 1));
  }

  @Test
  public void withoutSamplesInputsAreRandomAndRepeatable() throws Exception {
    ModelSpec bare = ModelSpec.ofFile(TestModels.first("float32").file());
    Map<String, byte[]> first = tensors(bare, 7);
    Map<String, byte[]> again = tensors(bare, 7);
    Map<String, byte[]> other = tensors(bare, 8);
    assertArrayEquals(first.get("input0"), again.get("input0"));
    assertArrayEquals(first.get("delegate0"), again.get("delegate0"));
    assertFalse(Arrays.equals(first.get("input0"), other.get("input0")));
    ByteBuffer values = ByteBuffer.wrap(first.get("input0")).order(ByteOrder.nativeOrder());
    double sum = 0;
    double squares = 0;
    int n = values.limit() / 4;
    for (int i = 0; i < n; i++) {
      sum += values.getFloat(4 * i);
      squares += values.getFloat(4 * i) * values.getFloat(4 * i);
    }
    // Standard normal: five standard errors of the mean and of the mean square.
    assertEquals(0, sum / n, 5 / Math.sqrt(n));
    assertEquals(1, squares / n, 5 * Math.sqrt(2.0 / n));
  }

  private Map<String, byte[]> tensors(ModelSpec model, long seed) throws Exception {
    Outputs outputs = new Outputs();
    BenchmarkRunner runner =
        new BenchmarkRunner(
            model, quick().setRuns(1).setSeed(seed).setPaths("delegate").build(), environment);
    runner.setTensorSink(outputs);
    BenchmarkResult result = runner.run(recorder);
    assertEquals("random", result.settings().inputs());
    assertEquals(Integer.valueOf(16), result.settings().agreementInputs());
    assertTrue(result.paths().get(0).samples().isEmpty());
    return outputs.tensors;
  }

  @Test
  public void dynamicActivationsDifferButAgree() throws Exception {
    PathResult path =
        run(TestModels.first("float32"),
            quick().setRuns(1).setPaths("delegate").setActivations(Activations.DYNAMIC_INT8))
            .path(PathKind.DELEGATE);
    assertTrue(path.maxAbsDifference() > 1e-3);
    assertTrue("" + path.top1Agreement(), path.top1Agreement() >= 0.75);
  }

  @Test
  public void aModelWithoutTwinHasNoDensePath() throws Exception {
    ModelSpec bare = ModelSpec.ofFile(TestModels.first("float32").file());
    BenchmarkResult result = run(bare, quick().setRuns(1));
    assertNull(result.path(PathKind.DENSE_XNNPACK));
    assertNull(result.dense());
    assertEquals(3, result.paths().size());
  }

  @Test
  public void aTwinThatIsNotOneFailsAlone() throws Exception {
    File other = folder.newFile("other.tflite");
    Files.writeAtomically(other, Files.readBytes(TestModels.first("int8").file()));
    ModelSpec model = ModelSpec.ofFiles(digits().file(), other);
    BenchmarkResult result = run(model, quick().setRuns(2));
    ResultSchema.check(result.toJson());
    PathResult dense = result.path(PathKind.DENSE_XNNPACK);
    assertTrue(dense.error(), dense.error().startsWith("a dense twin must take the same inputs"));
    assertEquals(2, result.path(PathKind.DELEGATE).runsMs().length);
  }

  private static ModelSpec digits() throws Exception {
    for (ModelSpec model : TestModels.all()) {
      if (model.name().startsWith("digits")) {
        return model;
      }
    }
    throw new IllegalStateException("the bundled models must have one of digits");
  }

  @Test
  public void brokenModels() throws Exception {
    byte[] sound = Files.readBytes(TestModels.first("float32").file());
    byte[] scrambled = sound.clone();
    Arrays.fill(scrambled, 0, 64, (byte) 0x5a);
    for (byte[] content : new byte[][] {{}, {1, 2, 3}, Arrays.copyOf(sound, sound.length / 2), scrambled}) {
      File file = new File(folder.getRoot(), "broken.tflite");
      Files.writeAtomically(file, content);
      BenchmarkException e =
          assertThrows(BenchmarkException.class, () -> run(ModelSpec.ofFile(file), quick()));
      assertEquals(e.getMessage(), BenchmarkException.Reason.MODEL_BROKEN, e.reason());
      assertTrue(e.getMessage(), e.getMessage().contains("broken.tflite"));
    }
  }

  @Test
  public void aMissingFile() {
    ModelSpec missing = ModelSpec.ofFile(new File(folder.getRoot(), "missing.tflite"));
    BenchmarkException e = assertThrows(BenchmarkException.class, () -> run(missing, quick()));
    assertEquals(BenchmarkException.Reason.MODEL_UNREADABLE, e.reason());
  }

  @Test
  public void samplesThatDoNotFit() throws Exception {
    String text =
        "{\"schema\": \"dgms-models\", \"schema_version\": \"1.0\","
            + " \"models\": [{\"name\": \"m\", \"file\": \"m.tflite\","
            + " \"input\": {\"shape\": [1, 4, 4, 1], \"dtype\": \"float32\", \"scale\": 1, \"offset\": 0,"
            + " \"channels\": 1}, \"samples\": [{\"file\": \"s.png\", \"label\": 0}]}]}";
    Files.writeAtomically(
        new File(folder.getRoot(), "m.tflite"), Files.readBytes(TestModels.first("float32").file()));
    ModelSpec model = ModelCatalog.parse(text, folder.getRoot()).get(0);
    BenchmarkException e = assertThrows(BenchmarkException.class, () -> run(model, quick()));
    assertEquals(BenchmarkException.Reason.MODEL_UNSUPPORTED, e.reason());
  }

  @Test
  public void cancelledBetweenRuns() throws Exception {
    BenchmarkRunner runner =
        new BenchmarkRunner(
            TestModels.first("float32"), quick().setRuns(BenchmarkSettings.MAX_ROUNDS).build(), environment);
    recorder.afterRounds = 3;
    recorder.action = runner::cancel;
    BenchmarkException e = assertThrows(BenchmarkException.class, () -> runner.run(recorder));
    assertEquals(BenchmarkException.Reason.CANCELLED, e.reason());
    assertTrue(recorder.rounds.get(recorder.rounds.size() - 1) <= 4);
  }

  @Test(timeout = 20000)
  public void cancelledByAnotherThreadWhileCoolingDown() throws Exception {
    BenchmarkRunner runner =
        new BenchmarkRunner(
            TestModels.first("float32"), quick().setCoolDownSeconds(3600).build(), environment);
    recorder.onFirstPhase = new Thread(runner::cancel);
    BenchmarkException e = assertThrows(BenchmarkException.class, () -> runner.run(recorder));
    assertEquals(BenchmarkException.Reason.CANCELLED, e.reason());
    assertTrue(recorder.paths.isEmpty());
  }

  @Test
  public void aRunnerRunsOnce() throws Exception {
    BenchmarkRunner runner =
        new BenchmarkRunner(
            TestModels.first("float32"), quick().setRuns(1).setPaths("builtin").build(), environment);
    runner.run(recorder);
    assertThrows(IllegalStateException.class, () -> runner.run(recorder));
  }

  @Test
  public void aHotterPhoneIsThrottled() throws Exception {
    environment.thermalStatus = "none";
    recorder.afterRounds = 1;
    recorder.action = () -> environment.thermalStatus = "moderate";
    BenchmarkResult result = run(TestModels.first("float32"), quick().setPaths("builtin"));
    assertEquals("none", result.thermalBefore());
    assertEquals("moderate", result.thermalAfter());
    assertEquals(Boolean.TRUE, result.throttled());
    ResultSchema.check(result.toJson());
  }

  /** Keeps what it is told, and acts once. */
  private static final class Recorder implements BenchmarkRunner.Listener {
    final List<String> paths = new ArrayList<String>();
    final List<Integer> rounds = new ArrayList<Integer>();
    final List<Integer> totals = new ArrayList<Integer>();
    Thread onFirstPhase;
    Runnable action;
    int afterRounds;

    @Override
    public void onPhase(String text) {
      if (onFirstPhase != null) {
        onFirstPhase.start();
        onFirstPhase = null;
      }
    }

    @Override
    public void onRound(int done, int total, PathKind path, double ms) {
      paths.add(path.id());
      rounds.add(done);
      totals.add(total);
      if (action != null && done >= afterRounds) {
        action.run();
        action = null;
      }
    }
  }

  /** Keeps the first input's tensors. */
  private static final class Outputs implements TensorSink {
    final Map<String, byte[]> tensors = new LinkedHashMap<String, byte[]>();
    double largest;

    @Override
    public void input(int tensor, String dtype, ByteBuffer bytes) {
      keep("input" + tensor, bytes);
    }

    @Override
    public void output(PathKind path, int tensor, String dtype, ByteBuffer bytes) {
      if (dtype.equals("float32")) {
        for (int i = 0; i < bytes.limit(); i += 4) {
          largest = Math.max(largest, Math.abs(bytes.getFloat(i)));
        }
      }
      keep(path.id() + tensor, bytes);
    }

    private void keep(String name, ByteBuffer bytes) {
      byte[] copy = new byte[bytes.remaining()];
      bytes.get(copy);
      tensors.put(name, copy);
    }
  }
}
