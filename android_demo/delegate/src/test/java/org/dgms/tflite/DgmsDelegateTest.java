package org.dgms.tflite;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.List;
import org.dgms.host.ShimLoader;
import org.dgms.tflite.DgmsDelegate.Activations;
import org.junit.BeforeClass;
import org.junit.Test;
import org.tensorflow.lite.Interpreter;

/** The delegate in Android's own TFLite, on the app's models. */
public class DgmsDelegateTest {
  // The delegate is exact against TFLite's reference kernels (the Python tests compare those). Android's
  // library has the faster ones, which round differently: a layer's values are off by one step at most, and
  // later layers pass that on.
  private static final double INT8_STEPS = 2;

  @BeforeClass
  public static void loadShims() {
    ShimLoader.load();
  }

  // -- options
  // ------------------------------------------------------------------------------------------------------

  @Test
  public void optionsHaveDefaultsAndKeepWhatIsSet() {
    DgmsDelegate.Options options = new DgmsDelegate.Options();
    assertEquals(-1, options.getNumThreads());
    assertEquals(Activations.FLOAT32, options.getActivations());
    assertFalse(options.isProfiling());
    assertFalse(options.isLogging());
    assertFalse(options.isCachingFilters());
    options.setNumThreads(3).setActivations(Activations.DYNAMIC_INT8).setProfiling(true).setLogging(true);
    options.setCachingFilters(true);
    assertEquals(3, options.getNumThreads());
    assertEquals(Activations.DYNAMIC_INT8, options.getActivations());
    assertTrue(options.isProfiling());
    assertTrue(options.isLogging());
    assertTrue(options.isCachingFilters());
  }

  @Test
  public void numberOfThreadsIsChecked() {
    for (int wrong : new int[] {0, -2, 65, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      IllegalArgumentException error = assertThrows(
          IllegalArgumentException.class, () -> new DgmsDelegate.Options().setNumThreads(wrong));
      assertEquals("`numThreads` must be -1 (choose) or 1 to 64. Received: " + wrong, error.getMessage());
    }
    // The native side has the same limits: what these options let through, it takes.
    for (int right : new int[] {-1, 1, 64}) {
      new DgmsDelegate(new DgmsDelegate.Options().setNumThreads(right)).close();
    }
  }

  @Test
  public void nullsAreRefused() {
    IllegalArgumentException error = assertThrows(
        IllegalArgumentException.class, () -> new DgmsDelegate.Options().setActivations(null));
    assertEquals("`activations` must be FLOAT32 or DYNAMIC_INT8. Received: null", error.getMessage());
    error = assertThrows(IllegalArgumentException.class, () -> new DgmsDelegate(null));
    assertEquals("`options` must not be null. Received: null", error.getMessage());
  }

  @Test
  public void whatTheNativeSideRefusesIsAnExceptionWithItsMessage() throws ReflectiveOperationException {
    // DgmsDelegate sends nothing that is refused, so this goes past it.
    Method create = DgmsDelegate.class.getDeclaredMethod("nativeCreate", String[].class, String[].class);
    create.setAccessible(true);
    InvocationTargetException error = assertThrows(InvocationTargetException.class,
        () -> create.invoke(null, new String[] {"isa"}, new String[] {"sse9"}));
    assertEquals(UnsupportedOperationException.class, error.getCause().getClass());
    String message = error.getCause().getMessage();
    String rule = "`isa` must be one that this machine and this build have: 'auto', 'portable'";
    assertTrue(message, message.startsWith(rule));
    assertTrue(message, message.endsWith("Received: 'isa' = 'sse9'"));
    error = assertThrows(InvocationTargetException.class,
        () -> create.invoke(null, new String[] {"f\u00e4rbe"}, new String[] {"1"}));
    assertEquals("the options are num_threads, activations, cache_filters, claim, isa, log and profile. Received: 'f??rbe' = '1'",
        error.getCause().getMessage());
  }

  @Test
  public void saysWhatTheCpuGets() {
    assertTrue(DgmsDelegate.isAvailable());
    assertNull(DgmsDelegate.unavailableReason());
    List<String> features = DgmsDelegate.cpuFeatures();
    String best = features.isEmpty() ? "portable" : features.get(features.size() - 1);
    assertEquals("kernels exist for every set that is detected, and the last is the best", best,
        DgmsDelegate.kernelSet());
    assertThrows(UnsupportedOperationException.class, () -> features.add("mmx"));
  }

  // -- claims and results
  // -------------------------------------------------------------------------------------------

  @Test
  public void claimsCompressedModels() throws IOException {
    for (File model : TestModels.compressed()) {
      try (DgmsDelegate delegate = new DgmsDelegate();
          Interpreter interpreter = TestModels.open(model, delegate)) {
        assertTrue(interpreter.getInputTensorCount() > 0);
        ClaimSummary claim = delegate.claim();
        assertTrue(model + ": " + claim, claim.claimedOperators() >= 2);
        assertEquals(claim.candidateOperators(), claim.claimedOperators() + claim.refusals().size());
        assertTrue("decode chains are claimed too", claim.claimedNodes() > claim.claimedOperators());
        assertTrue(claim.packedBytes() > 0);
        assertTrue("packed weights are no larger than 8 bits each", claim.packedBytes() < 8 * model.length());
        assertThrows(UnsupportedOperationException.class, () -> claim.refusals().add(""));
      }
    }
  }

  @Test
  public void saysWhyItLeavesPlainLayers() throws IOException {
    try (DgmsDelegate delegate = new DgmsDelegate();
        Interpreter interpreter = TestModels.open(TestModels.dense(), delegate)) {
      assertTrue(interpreter.getInputTensorCount() > 0);
      ClaimSummary claim = delegate.claim();
      assertEquals(0, claim.claimedOperators());
      assertEquals(0, claim.claimedNodes());
      assertEquals(0, claim.packedBytes());
      assertTrue(claim.candidateOperators() >= 2);
      assertEquals(claim.candidateOperators(), claim.refusals().size());
      for (String refusal : claim.refusals()) {
        assertTrue(refusal, refusal.matches("[A-Z_0-9]+, node \\d+, output '.+': .+"));
      }
    }
  }

  @Test
  public void namesInAModelMayBeAnything() throws IOException {
    // A model without codebooks: its layers are refused by name.
    byte[] bytes = Files.readAllBytes(TestModels.dense().toPath());
    // One character a byte, so places are the same.
    String latin = new String(bytes, StandardCharsets.ISO_8859_1);
    // Four bytes that are one character in UTF-8, one that is never in UTF-8, and an x.
    byte[] name = {(byte) 0xf0, (byte) 0x9f, (byte) 0x98, (byte) 0x80, (byte) 0xff, 'x'};
    int replaced = 0;
    for (int at = latin.indexOf("logits"); at >= 0; at = latin.indexOf("logits", at + 1)) {
      System.arraycopy(name, 0, bytes, at, name.length);
      replaced++;
    }
    assertTrue("the last layer of the models is called logits", replaced > 0);
    File model = File.createTempFile("named", ".tflite");
    Files.write(model.toPath(), bytes);
    try (DgmsDelegate delegate = new DgmsDelegate();
        Interpreter interpreter = TestModels.open(model, delegate)) {
      assertTrue(interpreter.getInputTensorCount() > 0);
      String refusals = delegate.claim().refusals().toString();
      assertTrue(refusals, refusals.contains("output '\ud83d\ude00\ufffdx': "));
    } finally {
      assertTrue(model.delete());
    }
  }

  @Test
  public void floatResultsAreThoseOfTheBuiltinKernels() throws IOException {
    File model = TestModels.compressed("float32");
    try (DgmsDelegate delegate = new DgmsDelegate();
        Interpreter interpreter = TestModels.open(model, delegate)) {
      for (int seed = 0; seed < 5; seed++) {
        double[] expected = TestModels.reference(model, seed);
        // Sums of at most some thousand products in another order: errors are near 1e-6 of the largest value.
        // One wrong weight of thousands changes outputs by more than 1e-3 of it.
        assertArrayEquals(expected, TestModels.run(interpreter, seed), 1e-4 * Math.max(1, largest(expected)));
      }
    }
  }

  @Test
  public void int8ResultsAreThoseOfTheBuiltinKernelsButForRounding() throws IOException {
    File model = TestModels.compressed("int8");
    try (DgmsDelegate delegate = new DgmsDelegate();
        Interpreter interpreter = TestModels.open(model, delegate)) {
      assertTrue(delegate.claim().claimedOperators() > 0);
      for (int seed = 0; seed < 5; seed++) {
        assertArrayEquals(TestModels.reference(model, seed), TestModels.run(interpreter, seed), INT8_STEPS);
      }
    }
  }

  @Test
  public void dynamicInt8IsCloseAndAnotherComputation() throws IOException {
    File model = TestModels.compressed("float32");
    DgmsDelegate.Options options = new DgmsDelegate.Options().setActivations(Activations.DYNAMIC_INT8);
    double signal = 0;
    double noise = 0;
    try (DgmsDelegate delegate = new DgmsDelegate(options);
        Interpreter interpreter = TestModels.open(model, delegate)) {
      for (int seed = 0; seed < 5; seed++) {
        double[] expected = TestModels.reference(model, seed);
        double[] result = TestModels.run(interpreter, seed);
        for (int i = 0; i < expected.length; i++) {
          signal += expected[i] * expected[i];
          noise += (result[i] - expected[i]) * (result[i] - expected[i]);
        }
      }
    }
    assertTrue("the option reaches the delegate, so results differ", noise > 0);
    // A layer is about 40 dB above its noise; several in a row may lose half of that. A wrong result is near
    // 0 dB.
    assertTrue("signal " + signal + ", noise " + noise, 10 * Math.log10(signal / noise) > 20);
  }

  @Test
  public void twoInterpretersShareADelegate() throws IOException {
    File model = TestModels.compressed("float32");
    double[] expected = TestModels.reference(model, 1);
    double tolerance = 1e-4 * Math.max(1, largest(expected));
    try (DgmsDelegate delegate = new DgmsDelegate()) {
      try (Interpreter first = TestModels.open(model, delegate)) {
        ClaimSummary one = delegate.claim();
        try (Interpreter second = TestModels.open(model, delegate)) {
          assertEquals(2 * one.claimedOperators(), delegate.claim().claimedOperators());
          assertEquals(2 * one.candidateOperators(), delegate.claim().candidateOperators());
          assertEquals(2 * one.claimedNodes(), delegate.claim().claimedNodes());
          assertEquals(2 * one.packedBytes(), delegate.claim().packedBytes());
          assertArrayEquals(expected, TestModels.run(second, 1), tolerance);
          assertArrayEquals(expected, TestModels.run(first, 1), tolerance);
        }
        assertEquals(one.claimedOperators(), delegate.claim().claimedOperators());
        assertArrayEquals(expected, TestModels.run(first, 1), tolerance);
      }
      assertEquals("no interpreter uses it any more", 0, delegate.claim().claimedOperators());
    }
  }

  @Test
  public void countsAgainAfterAResize() throws IOException {
    File model = TestModels.compressed("float32");
    try (DgmsDelegate delegate = new DgmsDelegate();
        Interpreter interpreter = TestModels.open(model, delegate)) {
      int claimed = delegate.claim().claimedOperators();
      int[] shape = interpreter.getInputTensor(0).shape();
      int elements = interpreter.getInputTensor(0).numElements();
      shape[0] = 3;
      interpreter.resizeInput(0, shape);
      interpreter.allocateTensors();
      assertEquals(3 * elements, interpreter.getInputTensor(0).numElements());
      TestModels.run(interpreter, 4);
      assertEquals(claimed, delegate.claim().claimedOperators());
    }
  }

  // -- counters
  // -----------------------------------------------------------------------------------------------------

  @Test
  public void countersGrowWithRuns() throws IOException {
    DgmsDelegate.Options options = new DgmsDelegate.Options().setProfiling(true);
    try (DgmsDelegate delegate = new DgmsDelegate(options);
        Interpreter interpreter = TestModels.open(TestModels.compressed("float32"), delegate)) {
      assertTrue("nothing ran so far", delegate.counters().isEmpty());
      for (int seed = 0; seed < 3; seed++) {
        TestModels.run(interpreter, seed);
      }
      List<NodeCounter> counters = delegate.counters();
      int layers = 0;
      long packed = 0;
      for (NodeCounter counter : counters) {
        assertEquals(3, counter.calls());
        assertFalse(counter.name().isEmpty());
        boolean layer = counter.kernel().matches("(chain[(][0-9]+[)] )?(f32|s8)_[a-z0-9_]+([+]add)?");
        assertTrue(counter.kernel(), layer || counter.kernel().matches("pointwise_[a-z0-9_]+"));
        assertEquals(counter.kernel(), layer, counter.macs() > 0);
        layers += TestModels.layersOf(counter);
        assertTrue(counter.fastestNanos() > 0);
        assertTrue(counter.totalNanos() >= 3 * counter.fastestNanos());
        packed += counter.packedBytes();
      }
      assertEquals(delegate.claim().claimedOperators(), layers);
      assertEquals(delegate.claim().packedBytes(), packed);
      TestModels.run(interpreter, 3);
      NodeCounter before = counters.get(0);
      NodeCounter after = delegate.counters().get(0);
      assertEquals(4, after.calls());
      assertEquals(before.name(), after.name());
      assertTrue(after.totalNanos() > before.totalNanos());
      assertEquals("a reading does not change", 3, before.calls());
    }
  }

  @Test
  public void countersAreEmptyWithoutProfiling() throws IOException {
    try (DgmsDelegate delegate = new DgmsDelegate();
        Interpreter interpreter = TestModels.open(TestModels.compressed("float32"), delegate)) {
      TestModels.run(interpreter, 0);
      assertTrue(delegate.counters().isEmpty());
    }
  }

  // -- lives
  // --------------------------------------------------------------------------------------------------------

  @Test
  public void mayBeClosedBeforeItsInterpreter() throws IOException {
    File model = TestModels.compressed("int8");
    DgmsDelegate delegate = new DgmsDelegate();
    try (Interpreter interpreter = TestModels.open(model, delegate)) {
      double[] expected = TestModels.run(interpreter, 2);
      delegate.close();
      assertArrayEquals(expected, TestModels.run(interpreter, 2), 0);
      // A new delegate may get the address of the old one, and must not touch the old one's nodes.
      try (DgmsDelegate other = new DgmsDelegate(); Interpreter second = TestModels.open(model, other)) {
        assertArrayEquals(expected, TestModels.run(second, 2), 0);
        assertArrayEquals(expected, TestModels.run(interpreter, 2), 0);
      }
      assertArrayEquals(expected, TestModels.run(interpreter, 2), 0);
    }
  }

  @Test
  public void mayBeClosedAfterItsInterpreterAndTwice() throws IOException {
    DgmsDelegate delegate = new DgmsDelegate();
    Interpreter interpreter = TestModels.open(TestModels.compressed("int8"), delegate);
    TestModels.run(interpreter, 2);
    interpreter.close();
    assertNotEquals(0, delegate.getNativeHandle());
    delegate.close();
    delegate.close();
  }

  @Test
  public void aClosedOneSaysSo() throws IOException {
    File model = TestModels.compressed("float32");
    DgmsDelegate delegate = new DgmsDelegate();
    delegate.close();
    String message = "a DgmsDelegate must not be used after close(). Received: a closed one";
    assertEquals(message, assertThrows(IllegalStateException.class, delegate::getNativeHandle).getMessage());
    assertEquals(message, assertThrows(IllegalStateException.class, delegate::claim).getMessage());
    assertEquals(message, assertThrows(IllegalStateException.class, delegate::counters).getMessage());
    assertEquals(message,
        assertThrows(IllegalStateException.class, () -> TestModels.open(model, delegate)).getMessage());
  }

  @Test
  public void aBrokenModelLeavesTheDelegateUsable() throws IOException {
    File broken = File.createTempFile("broken", ".tflite");
    try (DgmsDelegate delegate = new DgmsDelegate()) {
      Files.write(broken.toPath(), new byte[1000]);
      assertThrows(IllegalArgumentException.class, () -> TestModels.open(broken, delegate));
      assertEquals(0, delegate.claim().candidateOperators());
      File model = TestModels.compressed("int8");
      try (Interpreter interpreter = TestModels.open(model, delegate)) {
        assertArrayEquals(TestModels.reference(model, 3), TestModels.run(interpreter, 3), INT8_STEPS);
      }
    } finally {
      assertTrue(broken.delete());
    }
  }

  private static double largest(double[] values) {
    double largest = 0;
    for (double value : values) {
      largest = Math.max(largest, Math.abs(value));
    }
    return largest;
  }
}
