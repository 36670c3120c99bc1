package org.dgms.tflite;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.tensorflow.lite.Delegate;

/**
 * A TensorFlow Lite delegate for models that were compressed by DGMS to 2-, 3- or 4-bit weight sharing: it
 * runs their convolutions and fully connected layers from the packed weights. Everything else is left to
 * TFLite.
 *
 * <pre>{@code
 * DgmsDelegate delegate = new DgmsDelegate();
 * Interpreter interpreter = new Interpreter(model, new Interpreter.Options().addDelegate(delegate));
 * // ... interpreter.run(input, output) ...; at the end: interpreter.close(); delegate.close();
 * }</pre>
 *
 * <p>One delegate may serve several interpreters, also in different threads. It may be closed before its
 * interpreters: those keep what they need and go on. It should be closed; nothing else frees its native
 * memory.
 *
 * <p>All methods are safe to call from any thread.
 */
public final class DgmsDelegate implements Delegate, AutoCloseable {

  /** What layers with float activations compute with. Layers with int8 activations are not concerned. */
  public enum Activations {
    /** In float, as TFLite's own kernels do. */
    FLOAT32("float32"),
    /**
     * Each layer's input is quantised to int8 when it runs, and sums are integers: faster, with
     * errors about 40 dB below the values. Depthwise layers stay float.
     */
    DYNAMIC_INT8("dynamic_int8");

    private final String text; // of the native option

    Activations(String text) {
      this.text = text;
    }
  }

  /**
   * How a delegate shall work. It is read when the delegate is made; later changes have no effect on that.
   */
  public static final class Options {
    private static final int MAX_THREADS = 64;

    private int numThreads = -1;
    private Activations activations = Activations.FLOAT32;
    private boolean cachingFilters;
    private boolean profiling;
    private boolean logging;

    /**
     * The defaults: the delegate chooses the number of threads, float activations, filters as they are
     * stored, no profiling, no logging.
     */
    public Options() {}

    /**
     * Sets the number of threads, the calling thread included. The interpreter's own number of threads is
     * another thing and has no effect on the delegate.
     *
     * @param numThreads 1 to 64, or -1 (the default): the number of CPUs, at most 4.
     * @throws IllegalArgumentException for any other number.
     */
    public Options setNumThreads(int numThreads) {
      if (numThreads != -1 && (numThreads < 1 || numThreads > MAX_THREADS)) {
        throw new IllegalArgumentException(
            "`numThreads` must be -1 (choose) or 1 to " + MAX_THREADS + ". Received: " + numThreads);
      }
      this.numThreads = numThreads;
      return this;
    }

    /**
     * Sets what layers with float activations compute with; the default is {@link Activations#FLOAT32}.
     *
     * @throws IllegalArgumentException for null.
     */
    public Options setActivations(Activations activations) {
      if (activations == null) {
        throw new IllegalArgumentException("`activations` must be FLOAT32 or DYNAMIC_INT8. Received: null");
      }
      this.activations = activations;
      return this;
    }

    /**
     * Sets whether float 3x3 convolutions over large maps keep their filters in memory as they multiply them, 16
     * bytes for each weight, instead of decoding and transforming them in every run: memory for speed, with the
     * same results. The default is not.
     */
    public Options setCachingFilters(boolean cachingFilters) {
      this.cachingFilters = cachingFilters;
      return this;
    }

    /** Sets whether every operator is measured ({@link DgmsDelegate#counters}); the default is not. */
    public Options setProfiling(boolean profiling) {
      this.profiling = profiling;
      return this;
    }

    /**
     * Sets whether the delegate logs what it claims of a model, what it does not, and why (logcat, tag
     * {@code dgms_delegate}; on a desktop, stderr); the default is not.
     */
    public Options setLogging(boolean logging) {
      this.logging = logging;
      return this;
    }

    /** The number of threads, or -1: the delegate chooses. */
    public int getNumThreads() {
      return numThreads;
    }

    /** What layers with float activations compute with. */
    public Activations getActivations() {
      return activations;
    }

    /** Whether large float convolutions keep their filters as they multiply them. */
    public boolean isCachingFilters() {
      return cachingFilters;
    }

    /** Whether every operator is measured. */
    public boolean isProfiling() {
      return profiling;
    }

    /** Whether the delegate logs what it claims. */
    public boolean isLogging() {
      return logging;
    }
  }

  /** Loads the native library once, when it is first needed. */
  private static final class Library {
    static final String NAME = "dgms_delegate";
    static final String WHY_NOT = load(); // null: it is there

    private static String load() {
      try {
        System.loadLibrary(NAME);
        nativeKernelSet(); // fails if that library was built without the functions for Java
        return null;
      } catch (LinkageError | SecurityException error) {
        return "the native library `" + NAME + "` must be loadable. Received: " + error.getMessage();
      }
    }

    static void require() {
      if (WHY_NOT != null) {
        throw new UnsupportedOperationException(WHY_NOT);
      }
    }
  }

  private long handle; // 0 after close(); guarded by `this`

  /**
   * Makes a delegate with the default options.
   *
   * @throws UnsupportedOperationException as {@link #DgmsDelegate(Options)}.
   */
  public DgmsDelegate() {
    this(new Options());
  }

  /**
   * Makes a delegate.
   *
   * @throws IllegalArgumentException if {@code options} is null.
   * @throws UnsupportedOperationException if the native library is missing ({@link #isAvailable}) or cannot
   *     make such a delegate; the message says why.
   */
  public DgmsDelegate(Options options) {
    if (options == null) {
      throw new IllegalArgumentException("`options` must not be null. Received: null");
    }
    Library.require();
    String[] keys = {"num_threads", "activations", "cache_filters", "profile", "log"};
    String[] values = {
      Integer.toString(options.numThreads),
      options.activations.text,
      text(options.cachingFilters),
      text(options.profiling),
      text(options.logging)
    };
    handle = nativeCreate(keys, values);
    if (handle == 0) {
      throw new UnsupportedOperationException("the native library must return a delegate. Received: none");
    }
  }

  private static String text(boolean value) {
    return value ? "1" : "0";
  }

  /** Whether the native library is there, so that delegates can be made. */
  public static boolean isAvailable() {
    return Library.WHY_NOT == null;
  }

  /** Why no delegate can be made, or null if {@link #isAvailable}. */
  public static String unavailableReason() {
    return Library.WHY_NOT;
  }

  /**
   * The name of the kernels that this CPU gets: {@code "neon"}, {@code "neon_dotprod"}, {@code "neon_i8mm"},
   * {@code "avx2"}, {@code "avx512"}, {@code "avx512_vnni"} or {@code "portable"}.
   *
   * @throws UnsupportedOperationException if the native library is missing.
   */
  public static String kernelSet() {
    Library.require();
    return nativeKernelSet();
  }

  /**
   * What this CPU has of the instruction sets that the delegate knows, e.g. {@code [neon, neon_dotprod]}, by
   * the delegate's own detection. Unmodifiable.
   *
   * @throws UnsupportedOperationException if the native library is missing.
   */
  public static List<String> cpuFeatures() {
    Library.require();
    return Collections.unmodifiableList(Arrays.asList(nativeCpuFeatures()));
  }

  /**
   * The address of the native delegate, for TFLite.
   *
   * @throws IllegalStateException if the delegate is closed.
   */
  @Override
  public synchronized long getNativeHandle() {
    return openHandle();
  }

  /**
   * What the delegate runs now, as the sum over the interpreters that use it. TFLite applies a delegate when
   * the interpreter is created.
   *
   * @throws IllegalStateException if the delegate is closed.
   */
  public synchronized ClaimSummary claim() {
    return nativeClaim(openHandle());
  }

  /**
   * What each operator has cost so far, in the order of their first runs. Empty without {@link
   * Options#setProfiling}. The list is the caller's.
   *
   * @throws IllegalStateException if the delegate is closed.
   */
  public synchronized List<NodeCounter> counters() {
    return new ArrayList<NodeCounter>(Arrays.asList(nativeCounters(openHandle())));
  }

  /** Releases the delegate; a second time does nothing. Interpreters that use it keep working. */
  @Override
  public synchronized void close() {
    if (handle != 0) {
      nativeDestroy(handle);
      handle = 0;
    }
  }

  private long openHandle() {
    if (handle == 0) {
      throw new IllegalStateException(
          "a DgmsDelegate must not be used after close(). Received: a closed one");
    }
    return handle;
  }

  private static native long nativeCreate(String[] keys, String[] values);

  private static native void nativeDestroy(long handle);

  private static native ClaimSummary nativeClaim(long handle);

  private static native NodeCounter[] nativeCounters(long handle);

  private static native String nativeKernelSet();

  private static native String[] nativeCpuFeatures();
}
