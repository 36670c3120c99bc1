package org.dgms.demo;

import android.content.Context;
import android.content.pm.PackageManager;
import android.content.res.AssetManager;
import android.database.Cursor;
import android.net.Uri;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.Charset;
import java.util.ArrayList;
import java.util.List;
import org.dgms.demo.bench.ModelCatalog;
import org.dgms.demo.bench.ModelSpec;

/**
 * The models that the app can run: those in its package, those pushed over adb and those opened
 * from a file. The runtime maps files, so what the package holds is copied into the app's storage
 * once for each installed version.
 */
final class ModelLibrary {
  /** Where a model came from. */
  enum Source {
    BUNDLED,
    PUSHED,
    OPENED
  }

  /** A model and where it came from. */
  static final class Entry {
    final ModelSpec model;
    final Source source;

    Entry(ModelSpec model, Source source) {
      this.model = model;
      this.source = source;
    }
  }

  /** Every model that was found, and what kept others from being found. */
  static final class Listing {
    final List<Entry> entries = new ArrayList<Entry>();
    final List<String> problems = new ArrayList<String>();

    /** The model of that name or path, or null. */
    ModelSpec find(String nameOrPath) {
      List<ModelSpec> models = new ArrayList<ModelSpec>();
      for (Entry entry : entries) {
        if (entry.model.file().getPath().equals(nameOrPath)) {
          return entry.model;
        }
        models.add(entry.model);
      }
      return ModelCatalog.find(models, nameOrPath);
    }
  }

  /** Hears how far a copy has got. */
  interface Progress {
    /**
     * Called now and then from the copying thread.
     *
     * @param total size in bytes, or -1 if unknown
     */
    void onCopied(long bytes, long total);
  }

  private static final String ASSETS = "models";
  private static final String STAMP = "installed";
  private static final Object INSTALL = new Object();

  private final Context context;

  ModelLibrary(Context context) {
    this.context = context.getApplicationContext();
  }

  /** Folder for models pushed over adb; null while the external storage is not there. */
  File pushedFolder() {
    return context.getExternalFilesDir("models");
  }

  /** Lists all models. Slow (it may copy the bundled ones): not for the main thread. */
  Listing list() {
    Listing listing = new Listing();
    try {
      add(listing, installBundled(), Source.BUNDLED);
    } catch (IOException e) {
      listing.problems.add(context.getString(R.string.problem_bundled, e.getMessage()));
    }
    File pushed = pushedFolder();
    if (pushed != null) {
      addOrExplain(listing, pushed, Source.PUSHED);
    }
    addOrExplain(listing, openedFolder(), Source.OPENED);
    return listing;
  }

  private void addOrExplain(Listing listing, File folder, Source source) {
    try {
      add(listing, folder, source);
    } catch (IOException e) {
      listing.problems.add(
          context.getString(R.string.problem_folder, folder.getPath(), e.getMessage()));
    }
  }

  private static void add(Listing listing, File folder, Source source) throws IOException {
    for (ModelSpec model : ModelCatalog.list(folder)) {
      listing.entries.add(new Entry(model, source));
    }
  }

  private File openedFolder() {
    return new File(context.getFilesDir(), "opened");
  }

  /** Copies the package's models where this version has not done so yet. */
  private File installBundled() throws IOException {
    synchronized (INSTALL) {
      File folder = new File(context.getFilesDir(), "bundled");
      String version = packageVersion();
      if (version.equals(readStamp(folder))) {
        return folder;
      }
      File fresh = new File(context.getFilesDir(), "bundled.new");
      deleteAll(fresh);
      makeFolder(fresh);
      copyAssets(context.getAssets(), ASSETS, fresh);
      try (OutputStream stamp = new FileOutputStream(new File(fresh, STAMP))) {
        stamp.write(version.getBytes(Charset.forName("UTF-8")));
      }
      deleteAll(folder);
      if (!fresh.renameTo(folder)) {
        throw new IOException("cannot rename " + fresh + " to " + folder.getName());
      }
      return folder;
    }
  }

  private String packageVersion() {
    try {
      // Changes with every installation, also of a build whose version number stayed.
      return String.valueOf(
          context.getPackageManager().getPackageInfo(context.getPackageName(), 0).lastUpdateTime);
    } catch (PackageManager.NameNotFoundException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String readStamp(File folder) {
    byte[] bytes = new byte[32];
    try (InputStream stamp = new java.io.FileInputStream(new File(folder, STAMP))) {
      int count = stamp.read(bytes);
      return count < 0 ? "" : new String(bytes, 0, count, Charset.forName("UTF-8"));
    } catch (IOException e) {
      return null;
    }
  }

  /** Copies a folder of the package; one without anything in it is not there at all. */
  private static void copyAssets(AssetManager assets, String folder, File target)
      throws IOException {
    String[] names = assets.list(folder);
    for (String name : names == null ? new String[0] : names) {
      String path = folder + "/" + name;
      String[] inside = assets.list(path);
      if (inside != null && inside.length > 0) {
        copyAssets(assets, path, new File(target, name));
      } else {
        makeFolder(new File(target, name).getParentFile());
        try (InputStream from = assets.open(path)) {
          copy(from, new File(target, name), -1, null);
        }
      }
    }
  }

  /**
   * Copies a document that the reader picked into the app's storage.
   *
   * @return the copy
   * @throws IOException the document cannot be read, is no {@code .tflite} file, or there is no
   *     room for it
   */
  File open(Uri document, Progress progress) throws IOException {
    String name = null;
    long size = -1;
    String[] columns = {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE};
    try (Cursor cursor = context.getContentResolver().query(document, columns, null, null, null)) {
      if (cursor != null && cursor.moveToFirst()) {
        name = cursor.getString(0);
        size = cursor.isNull(1) ? -1 : cursor.getLong(1);
      }
    }
    name = fileName(name == null ? document.getLastPathSegment() : name);
    File folder = openedFolder();
    makeFolder(folder);
    if (size > folder.getUsableSpace()) {
      throw new IOException(
          context.getString(R.string.problem_space, name, size, folder.getUsableSpace()));
    }
    File target = new File(folder, name);
    try (InputStream from = context.getContentResolver().openInputStream(document)) {
      if (from == null) {
        throw new IOException(context.getString(R.string.problem_document, name));
      }
      copy(from, target, size, progress);
    }
    return target;
  }

  /** The document's name without what a file name or a result's name may not have. */
  private static String fileName(String name) {
    String plain =
        name == null
            ? "model"
            : name.substring(name.lastIndexOf('/') + 1).replaceAll("[^A-Za-z0-9._-]", "_");
    return plain.endsWith(".tflite") ? plain : plain + ".tflite";
  }

  /**
   * Copies to a temporary name first: a copy that breaks off leaves nothing behind that looks like
   * a model.
   */
  private static void copy(InputStream from, File target, long total, Progress progress)
      throws IOException {
    File partial = new File(target.getPath() + ".partial");
    boolean complete = false;
    try {
      try (OutputStream to = new FileOutputStream(partial)) {
        byte[] buffer = new byte[1 << 16];
        long copied = 0;
        for (int count = from.read(buffer); count >= 0; count = from.read(buffer)) {
          to.write(buffer, 0, count);
          copied += count;
          if (progress != null) {
            progress.onCopied(copied, total);
          }
        }
      }
      complete = partial.renameTo(target);
      if (!complete) {
        throw new IOException("cannot rename " + partial + " to " + target.getName());
      }
    } finally {
      if (!complete) {
        deleteAll(partial);
      }
    }
  }

  private static void makeFolder(File folder) throws IOException {
    if (!folder.isDirectory() && !folder.mkdirs()) {
      throw new IOException("cannot make the folder " + folder);
    }
  }

  private static void deleteAll(File file) throws IOException {
    File[] inside = file.listFiles();
    for (File child : inside == null ? new File[0] : inside) {
      deleteAll(child);
    }
    if (file.exists() && !file.delete()) {
      throw new IOException("cannot delete " + file);
    }
  }
}
