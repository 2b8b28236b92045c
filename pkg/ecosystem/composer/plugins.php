/* Installs again, for each plugin with that one alone allowed, into a folder of its own, and runs the project's own scripts
   last. Says through marks whose code runs; this process runs none of it. Arguments: the plugins' names. */
function mark($state, $index, $reason = "") { @opendir("/dev/null/import/$state/$index" . ($reason === "" ? "" : "/$reason")); }
$names = array_slice($argv, 1);
$config = json_decode(file_get_contents("composer.json"));
$vendor = getenv("COMPOSER_VENDOR_DIR");
mark("own", 0);
foreach ($names as $index => $name) {
    $allowed = new stdClass();
    foreach ($names as $n) $allowed->$n = $n === $name;
    $own = clone $config;
    $own->config = isset($config->config) ? clone $config->config : new stdClass();
    $own->config->{"allow-plugins"} = $allowed;
    file_put_contents("composer-$index.json", json_encode($own, JSON_UNESCAPED_SLASHES | JSON_PRETTY_PRINT));
    copy("composer.lock", "composer-$index.lock");
    putenv("COMPOSER=composer-$index.json");
    putenv("COMPOSER_VENDOR_DIR=" . sys_get_temp_dir() . "/composer-$index/vendor");
    mark("run", $index);
    passthru("exec composer install --no-interaction --no-progress --no-scripts --prefer-dist", $code);
    mark("own", 0);
    $code === 0 ? mark("ok", $index) : mark("failed", $index, "Status-$code");
}
putenv("COMPOSER=composer.json");
putenv("COMPOSER_VENDOR_DIR=$vendor");
foreach (["post-install-cmd", "post-autoload-dump"] as $event)
    if (isset($config->scripts->$event)) passthru("exec composer run-script --no-interaction --no-plugins " . escapeshellarg($event));
